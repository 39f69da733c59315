/** A table column. The slot for the column's cells has the same `name`. */
export interface Column {
  name: string
  label: string
  /** Right-aligned, for numbers. */
  number?: boolean
  /** The cells need no visible heading; the label is for screen readers. */
  quiet?: boolean
}
