import { shallowRef } from 'vue'
import { wordsOf } from './api.ts'

/** The result of the last action, shown on the page and announced to screen readers. */
export interface News {
  text: string
  bad: boolean
}

export const news = shallowRef<News>()

export function showResult (text: string): void {
  news.value = { text, bad: false }
}

/** Removes the error of an earlier action. */
export function clearError (): void {
  if (news.value?.bad) news.value = undefined
}

export function showError (error: unknown): void {
  news.value = { text: wordsOf(error), bad: true }
}
