import { FulaError } from "../kernel/errors.ts";

/**
 * Money is a `bigint` number of units of 10⁻¹⁸ FULA in code and `numeric(38, 18)` in SQL; it is never a float. Both hold
 * every sum exactly.
 */
const DECIMALS = 18;
const UNITS_PER_FULA = 10n ** BigInt(DECIMALS);
// 20 digits before the point: what numeric(38, 18) can hold.
const AMOUNT = /^(-?)(\d{1,20})(?:\.(\d{1,18}))?$/;

/**
 * Reads a decimal number of FULA, such as `-0.25` or a value of `numeric(38, 18)`, as units.
 * @throws FulaError FULA_AMOUNT_INVALID for anything else: an exponent, a 19th digit after the point, a space
 */
export function parseUnits(text: string): bigint {
  const match = AMOUNT.exec(text);
  if (match === null) {
    throw new FulaError("FULA_AMOUNT_INVALID", `${JSON.stringify(text.slice(0, 100))} is no amount of FULA.`, {
      hint: "write a decimal number such as 12.5, with at most 20 digits before and 18 after the point.",
    });
  }
  const [, sign, whole = "0", fraction = ""] = match;
  const units = BigInt(whole) * UNITS_PER_FULA + BigInt(fraction.padEnd(DECIMALS, "0"));
  return sign === "-" ? -units : units;
}

/** The quotient of two numbers that are not negative, rounded half to even to a whole number. */
export function divideHalfEven(dividend: bigint, divisor: bigint): bigint {
  const quotient = dividend / divisor;
  const twiceRest = (dividend % divisor) * 2n;
  const isUp = twiceRest > divisor || (twiceRest === divisor && quotient % 2n === 1n);
  return isUp ? quotient + 1n : quotient;
}

/** Renders units as the shortest decimal number of FULA: `-250000000000000000n` → `-0.25`. `parseUnits` reads it back. */
export function formatUnits(units: bigint): string {
  const digits = (units < 0n ? -units : units).toString().padStart(DECIMALS + 1, "0");
  const whole = digits.slice(0, -DECIMALS);
  const fraction = digits.slice(-DECIMALS).replace(/0+$/, "");
  return `${units < 0n ? "-" : ""}${whole}${fraction === "" ? "" : `.${fraction}`}`;
}
