import type { SQLOutputValue } from "node:sqlite";
import type { z } from "zod";
import { memberSchema, operatorSchema, poolSchema, sealedKeySchema } from "../records.ts";
import type { Member, Operator, Pool, SealedKey } from "../records.ts";
import { unreadableFile } from "./database.ts";

type Row = Record<string, SQLOutputValue>;

/** Reads rows as records; SQLite keeps no checksum, so each is checked whole. */
export interface RowReader {
  readonly pool: (row: Row) => Pool;
  readonly member: (row: Row) => Member;
  readonly sealedKey: (row: Row) => SealedKey;
  readonly operator: (row: Row) => Operator;
}

/** @param path of the file, for errors; each function throws FULA_CONTROL_PLANE_UNREADABLE for a row that is no record */
export function rowReader(path: string): RowReader {
  const checked = <T>(schema: z.ZodType<T>, value: unknown, what: string): T => {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    const first = parsed.error.issues[0];
    throw unreadableFile(path, `a ${what} in it is no record (${first?.path.join(".")}: ${first?.message})`);
  };
  return {
    pool: ({ id, name, encrypted, owner, epoch, created_at: createdAt }) =>
      checked(poolSchema, { id, name, encrypted: encrypted === 1, owner, epoch, createdAt }, "pool"),
    member: ({ pool, endpoint, name, role, joined_at: joinedAt, applied_epoch: appliedEpoch }) =>
      checked(memberSchema, { pool, endpoint, name, role, joinedAt, appliedEpoch }, "member"),
    sealedKey: ({ pool, epoch, member, sealed }) =>
      checked(sealedKeySchema, { pool, epoch, member, sealed }, "sealed key"),
    operator: ({ id, role, status, name, created_at: createdAt }) =>
      checked(operatorSchema, { id, role, status, name, createdAt }, "operator"),
  };
}
