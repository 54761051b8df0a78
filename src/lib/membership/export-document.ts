import { createHash } from "node:crypto";
import canonical from "canonicalize";
import { z } from "zod";
import { FulaError } from "../kernel/errors.ts";
import type { MembershipSnapshot } from "./records.ts";
import { checkSnapshot } from "./snapshot.ts";

const KIND = "fula-control-plane";

/** A whole control plane in a file. It holds no secret in the clear: keys are sealed to their members. */
export interface ExportDocument {
  readonly kind: typeof KIND;
  readonly format: 1;
  /** RFC 3339, UTC. */
  readonly exportedAt: string;
  /** The box that wrote it: its `node.name`. */
  readonly exportedBy: string;
  /** SHA-256 of the snapshot as canonical JSON (RFC 8785), lower-case hex: two files of the same state have the same. */
  readonly sha256: string;
  readonly snapshot: MembershipSnapshot;
}

const documentSchema = z.strictObject({
  kind: z.literal(KIND),
  format: z.literal(1),
  exportedAt: z.string(),
  exportedBy: z.string(),
  sha256: z.string(),
  snapshot: z.unknown(),
});

function digestOf(snapshot: unknown): string {
  return createHash("sha256")
    .update(canonical(snapshot) ?? "")
    .digest("hex");
}

/** Makes the document of a state. */
export function describeExport(
  snapshot: MembershipSnapshot,
  by: { readonly exportedAt: string; readonly exportedBy: string },
): ExportDocument {
  return { kind: KIND, format: 1, ...by, sha256: digestOf(snapshot), snapshot };
}

/** The document as it lies in a file. */
export function renderExport(document: ExportDocument): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}

function refused(file: string, why: string, cause?: unknown): FulaError {
  return new FulaError("FULA_MEMBERSHIP_INVALID", `${file} cannot be imported: ${why}.`, {
    hint: "take another file that fula-master membership export has written.",
    details: { file },
    cause,
  });
}

/**
 * Reads an exported control plane. @param file where the text is from, for messages
 * @throws FulaError FULA_MEMBERSHIP_INVALID for what is no such document, or was damaged or changed; FULA_STATE_NEWER for a
 *   format that this version does not know
 */
export function parseExport(text: string, file: string): ExportDocument {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refused(file, "it is no JSON", cause);
  }
  const format = z.object({ kind: z.literal(KIND), format: z.number() }).safeParse(value).data?.format;
  if (format !== undefined && format > 1) {
    throw new FulaError("FULA_STATE_NEWER", `${file} has format ${format}; this fula-master knows format 1.`, {
      hint: "install the newest fula-master on this box; nothing was changed.",
    });
  }
  const parsed = documentSchema.safeParse(value);
  if (!parsed.success) throw refused(file, "it is no export of a control plane", parsed.error);
  const { snapshot, ...head } = parsed.data;
  if (digestOf(snapshot) !== head.sha256) {
    throw refused(file, "its state does not have the digest that it names, so it was damaged or changed by hand");
  }
  return { ...head, snapshot: checkSnapshot(snapshot) };
}
