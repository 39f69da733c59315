/** A table column and the name of the slot with its cells. */
export interface Column {
  name: string
  label: string
  /** Right-aligned, for numbers. */
  number?: boolean
  /** The cells need no visible heading; the label is for screen readers. */
  quiet?: boolean
}
