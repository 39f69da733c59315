/** A table column. `name` is also the name of the Vue slot that renders the column's cells. */
export interface Column {
  name: string
  label: string
  /** Right-aligned, for numbers. */
  number?: boolean
  /** True if only screen readers read the heading, because the cells are clear without it. */
  quiet?: boolean
}
