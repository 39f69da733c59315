import { reactive } from 'vue'

export const roomsAPage = 50

/** How the list of rooms is looked at: who comes back to it finds it as it was. */
export const roomsView = reactive({ filter: '', wanted: roomsAPage })
