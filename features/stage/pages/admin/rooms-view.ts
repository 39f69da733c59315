import { reactive } from 'vue'

export const roomsAPage = 50

/** The state of the room list, kept while the user is in another view. */
export const roomsView = reactive({ filter: '', wanted: roomsAPage })
