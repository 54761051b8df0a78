/**
 * Checks an invariant of the program itself, never input.
 * @throws Error when it does not hold: a bug, exit code 70.
 */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`Assertion failed: ${message}`);
}

/** Marks a branch that the types say cannot be reached. @throws Error always. */
export function unreachable(value: never, what: string): never {
  throw new Error(`Unreachable ${what}: ${JSON.stringify(value)}`);
}
