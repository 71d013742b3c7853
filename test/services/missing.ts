/**
 * What to say, and do, when a service cannot be had.
 * Invariant: with `CI=true` nothing is ever left out; a missing service is an error there.
 */

/** A service that cannot be had, and what to install. */
export interface Missing {
  readonly missing: string
}

/** True for the answer that says what is missing. */
export function isMissing(answer: object): answer is Missing {
  return 'missing' in answer
}

/** The answer for a service that is not there. @throws Error with `CI=true` */
export function missing(reason: string): Missing {
  if (process.env['CI'] === 'true') throw new Error(`${reason} (with CI=true every service is required)`)
  return { missing: reason }
}
