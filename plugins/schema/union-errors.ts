import { z } from 'zod'

/** Maximum number of an option's problems that a message contains. */
const maxProblems = 3

const problemOf = ({ path, message }: z.core.$ZodIssue) =>
  `${path.length > 0 ? `${path.map(String).join('.')}: ` : ''}${message.replace(/^Invalid input: /, '').replace(/, received \w+$/, '')}`

// Zod's own message for a value that matches no option of a union is only "Invalid input". A schema's own message takes
// precedence over this message.
z.config({
  customError (issue) {
    if (issue.code !== 'invalid_union' || issue.errors.length === 0) return
    const options = issue.errors.map((problems) => problems.slice(0, maxProblems).map(problemOf).join(', '))
    return `Invalid input: ${[...new Set(options)].join('; or ')}`
  }
})
