import { formatUtc } from "../../kernel/clock.ts";
import { FulaError } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { type MarkedWork, type MarkerPhase, readMarker, removeMarker, writeMarker } from "./marker.ts";
import { forgetOwnConfig } from "./own-config.ts";
import type { ReplicaWork } from "./replica-work.ts";

/** What has to be put right after a failure is some files. */
const CLEANUP_MS = 30_000;

/** Writes the marker of this session. @throws FulaError FULA_RECOVERY_STEP */
export async function mark(
  { server, session }: ReplicaWork,
  files: SiteSession,
  kind: MarkedWork,
  phase: MarkerPhase,
): Promise<void> {
  const startedAt = formatUtc(server.clock.nowMs());
  await writeMarker(files, server.site, { session: String(session), kind, phase, startedAt });
}

/**
 * Stops the server for work on its data. The marker stands before it is stopped: whoever looks after the server would start
 * it again at once. That of data which are half rewritten stays as it is.
 * @returns true where it is such data
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function takeServer(work: ReplicaWork, files: SiteSession, kind: MarkedWork): Promise<boolean> {
  const { site } = work.server;
  const marker = await readMarker(files, site);
  const isHalf = marker?.phase === "write";
  if (!isHalf) await mark(work, files, kind, "scan");
  await site.stop("fast");
  if ((await site.state()) !== "running") return isHalf;
  throw new FulaError(
    "FULA_RECOVERY_STEP",
    `The server of ${site.where} was started again while it was to stay stopped.`,
    {
      hint: "look what starts it beside fula-master: a unit of systemd, or a restart policy; then run the command again.",
    },
  );
}

/**
 * Gives the server back where nothing of its data was rewritten: takes the marker of this session away, and what was kept
 * aside. The session of the site may have been ended with the work, so that another one is taken.
 */
export async function giveBack({ server: { site }, session }: ReplicaWork): Promise<void> {
  await using files = await site.open(AbortSignal.timeout(CLEANUP_MS));
  const marker = await readMarker(files, site);
  if (marker?.phase === "write" || marker?.phase === "swap") return;
  await forgetOwnConfig(files, site);
  if (marker?.session === String(session)) await removeMarker(files, site);
}
