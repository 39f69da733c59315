/** A table column. `name` is also the name of the slot that contains the column's cells. */
export interface Column {
  name: string
  label: string
  /** Right-aligned, for numbers. */
  number?: boolean
  /** The cells need no visible heading; the label is for screen readers. */
  quiet?: boolean
}
