import type { z } from "zod";
import { operatorIdSchema } from "./records.ts";
import { membershipInvalid } from "./refusals.ts";

const ID_EXAMPLE =
  "an id is a wallet (0x and 40 hex digits), a key (ed25519: and 64 hex digits), a user (user: and 64 hex digits) " +
  "or system, such as 0x52908400098527886e0f7030069857d2e4169ee7.";

/**
 * Checks what came from outside against the schema of a record. @param what is being checked, in words
 * @throws FulaError FULA_MEMBERSHIP_INVALID naming the field, never its value
 */
export function checkRecord<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const first = parsed.error.issues[0];
  const where = first === undefined || first.path.length === 0 ? "" : `${first.path.join(".")}: `;
  throw membershipInvalid(`${what} is not valid: ${where}${first?.message ?? "not a record"}`);
}

/**
 * Brings an operator's id into its one spelling: wallets in mixed case, keys and user ids in capitals, blanks around.
 * @throws FulaError FULA_MEMBERSHIP_INVALID
 */
export function normalOperatorId(text: string): string {
  const normal = text.trim().toLowerCase();
  if (operatorIdSchema.safeParse(normal).success) return normal;
  throw membershipInvalid(`“${text.slice(0, 100)}” is no operator's id`, ID_EXAMPLE);
}
