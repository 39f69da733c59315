/** A column of a table, and the name of the slot with its cells. */
export interface Column {
  name: string
  label: string
  /** Aligned as numbers are. */
  number?: boolean
  /** What is in it says itself what it is: the label is for screen readers. */
  quiet?: boolean
}
