import { reactive } from 'vue'

export const roomsAPage = 50

/** The state of the room list, kept when the user returns to it. */
export const roomsView = reactive({ filter: '', wanted: roomsAPage })
