/** A reflected CRC: its width in bits and its polynomial, lowest power in the highest bit, as in the CRC RevEng catalogue. */
export interface ReflectedCrc {
  readonly bits: number;
  readonly polynomial: bigint;
}

/** CRCs of S3 that the CRCs of parts can be joined to. */
export const CRCS = {
  crc32: { bits: 32, polynomial: 0xedb88320n },
  crc32c: { bits: 32, polynomial: 0x82f63b78n },
  crc64nvme: { bits: 64, polynomial: 0x9a6c9329ac4bc9b5n },
} as const satisfies Readonly<Record<string, ReflectedCrc>>;

/** The product of two polynomials modulo that of the CRC. */
function multiply(a: bigint, b: bigint, { bits, polynomial }: ReflectedCrc): bigint {
  let product = 0n;
  let shifted = b;
  // The highest bit is the lowest power.
  for (let bit = 1n << BigInt(bits - 1); bit > 0n; bit >>= 1n) {
    if ((a & bit) !== 0n) product ^= shifted;
    shifted = (shifted & 1n) === 0n ? shifted >> 1n : (shifted >> 1n) ^ polynomial;
  }
  return product;
}

/** x to the power of 8 × bytes: what appending so many bytes does to a CRC. */
function powerOfBytes(bytes: number, crc: ReflectedCrc): bigint {
  const one = 1n << BigInt(crc.bits - 1);
  let power = one;
  // x^8, then squared for each bit of the number.
  let square = one >> 8n;
  for (let left = BigInt(bytes); left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) power = multiply(power, square, crc);
    square = multiply(square, square, crc);
  }
  return power;
}

/**
 * The CRC of texts one after the other, from theirs and their lengths (the algorithm of zlib's crc32_combine).
 * @param parts in order
 */
export function combineCrcs(
  parts: readonly { readonly value: bigint; readonly sizeBytes: number }[],
  crc: ReflectedCrc,
): bigint {
  // Parts mostly have one size.
  const powers = new Map<number, bigint>();
  let combined = 0n;
  for (const { value, sizeBytes } of parts) {
    const power = powers.get(sizeBytes) ?? powerOfBytes(sizeBytes, crc);
    powers.set(sizeBytes, power);
    combined = multiply(power, combined, crc) ^ value;
  }
  return combined;
}
