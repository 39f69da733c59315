import { reactive } from 'vue'

export const roomsAPage = 50

/** The state of the room list, kept while another view is open. */
export const roomsView = reactive({ filter: '', wanted: roomsAPage })
