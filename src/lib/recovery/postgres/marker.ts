import { z } from "zod";
import { FulaError } from "../../kernel/errors.ts";
import type { PostgresSite, SiteSession } from "../../runtime/postgres-site.ts";
import { readSiteFile, removeSiteFile, writeSiteFile } from "./site-files.ts";
import { siteLayout } from "./site-layout.ts";

/** What rewrites a data directory. */
export const MARKED_WORK = ["truncate", "rewind", "restore", "full_base", "replace"] as const;
export type MarkedWork = (typeof MARKED_WORK)[number];

/**
 * How far it may have come: `scan` has only read, `write` may have changed some files and not others, `swap` exchanges
 * whole directories and can be gone on with.
 */
export const MARKER_PHASES = ["scan", "write", "swap"] as const;
export type MarkerPhase = (typeof MARKER_PHASES)[number];

/**
 * That a session of a recovery rewrites the data directory beside which this stands. The tools leave no trace of their
 * own when they are killed: a data directory that `pg_rewind` has half rewritten says that it was shut down cleanly.
 */
export interface Marker {
  /** As a decimal text, so that it survives JSON. */
  readonly session: string;
  readonly kind: MarkedWork;
  readonly phase: MarkerPhase;
  /** RFC 3339, for people. */
  readonly startedAt: string;
}

const schema: z.ZodType<Marker> = z.strictObject({
  session: z.string().regex(/^\d{1,19}$/),
  kind: z.enum(MARKED_WORK),
  phase: z.enum(MARKER_PHASES),
  startedAt: z.string(),
});

/** A marker that nobody can read is a marker: it was there before something was rewritten. */
const UNREADABLE: Marker = { session: "0", kind: "full_base", phase: "write", startedAt: "unknown" };

/** Reads a marker's text. What is not one of ours counts as the worst: something was written. */
export function parseMarker(text: string): Marker {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return UNREADABLE;
  }
}

/** The marker beside a data directory, or null. @throws FulaError FULA_RECOVERY_STEP where it cannot be looked for */
export async function readMarker(session: SiteSession, site: Pick<PostgresSite, "rootDir">): Promise<Marker | null> {
  const text = await readSiteFile(session, siteLayout(site).marker);
  return text === null ? null : parseMarker(text);
}

/** Writes the marker, durably: before anything is rewritten, and before each phase. @throws FulaError FULA_RECOVERY_STEP */
export async function writeMarker(
  session: SiteSession,
  site: Pick<PostgresSite, "rootDir">,
  marker: Marker,
): Promise<void> {
  await writeSiteFile(session, siteLayout(site).marker, `${JSON.stringify(marker)}\n`);
}

/** Takes the marker away, durably: when the data directory is whole again. @throws FulaError FULA_RECOVERY_STEP */
export async function removeMarker(session: SiteSession, site: Pick<PostgresSite, "rootDir">): Promise<void> {
  await removeSiteFile(session, siteLayout(site).marker);
}

/**
 * Refuses where the data directory is being rewritten, or was when something ended: neither a server nor a promotion may
 * begin there, whatever the directory looks like.
 * @throws FulaError FULA_RECOVERY_MARKER
 */
export async function assertNoMarker(
  session: SiteSession,
  site: Pick<PostgresSite, "rootDir" | "where">,
): Promise<void> {
  const marker = await readMarker(session, site);
  if (marker === null) return;
  throw new FulaError(
    "FULA_RECOVERY_MARKER",
    `${site.where} must not be started: recovery session ${marker.session} was at "${marker.kind}" (${marker.phase}) there since ${marker.startedAt}, and its data directory may be half rewritten.`,
    {
      hint: "if that session does not run any more: fula-master resync, which begins anew where that is safe and rebuilds where it is not.",
      details: { session: marker.session, kind: marker.kind, phase: marker.phase },
    },
  );
}
