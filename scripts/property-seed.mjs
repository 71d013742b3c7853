/** In CI properties run from one seed, so that a red build is the change's own; elsewhere every run explores. */
import fc from 'fast-check'

if (process.env['CI'] === 'true') fc.configureGlobal({ seed: 20_261_121 })
