/** Numbers as people read them, the same on every machine: no locale is asked. */

/**
 * A number as text: thousands with commas, four significant digits below 1,000, powers of ten for the very large and small.
 * @param value - null, undefined and NaN give a dash
 * @param decimals - exactly this many digits after the point instead
 */
export function formatNumber(value: number | null | undefined, decimals?: number): string {
  if (value === null || value === undefined || Number.isNaN(value)) return '–'
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞'
  const size = Math.abs(value)
  if (decimals !== undefined && size < 1e15) {
    const fixed = value.toFixed(decimals)
    return sign(groupThousands(Number(fixed) === 0 ? fixed.replace('-', '') : fixed))
  }
  if (size === 0) return '0'
  if (size < 1e-4 || size >= 1e15) return sign(trimZeros(value.toExponential(3)))
  if (size >= 999.95) {
    const [whole, part] = value.toFixed(Number.isInteger(value) || size >= 10_000 ? 0 : 1).split('.')
    const grouped = groupThousands(whole!)
    return sign(part === undefined || part === '0' ? grouped : `${grouped}.${part}`)
  }
  return sign(trimZeros(Number.isInteger(value) ? value.toFixed(0) : value.toPrecision(4)))
}

function groupThousands(fixed: string): string {
  return fixed.replace(/\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ','))
}

/** 0.5000 and 5.000e-7 lose what says nothing. */
function trimZeros(text: string): string {
  return text.replace(/(\.\d*?)0+(e|$)/, '$1$2').replace(/\.(e|$)/, '$1')
}

/** A real minus sign lines up with plus and digits. */
function sign(text: string): string {
  return text.replace(/^-/, '−')
}
