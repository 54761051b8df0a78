import { z } from "zod";
import { FulaError } from "../../kernel/errors.ts";
import type { PostgresSite, SiteSession } from "../../runtime/postgres-site.ts";
import { type Epoch, formatEpoch, relateEpoch } from "../epoch.ts";
import { changeSiteFile, readSiteFile } from "./site-files.ts";
import { siteLayout } from "./site-layout.ts";

const schema = z.strictObject({ number: z.string().regex(/^[1-9]\d{0,18}$/), uuid: z.uuid() });

function parseFloor(text: string, path: string): Epoch {
  try {
    const { number, uuid } = schema.parse(JSON.parse(text));
    return { number: BigInt(number), uuid };
  } catch (cause) {
    throw new FulaError("FULA_RECOVERY_EPOCH_FLOOR", `${path} cannot be read as an epoch.`, {
      cause,
      hint: "it says which epochs this box must not go back behind; compare it with the other boxes' before you write it anew.",
    });
  }
}

/** The highest epoch that this box has seen; null before the first. @throws FulaError FULA_RECOVERY_EPOCH_FLOOR, FULA_RECOVERY_STEP */
export async function readEpochFloor(session: SiteSession, site: Pick<PostgresSite, "rootDir">): Promise<Epoch | null> {
  const path = siteLayout(site).epochFloor;
  const text = await readSiteFile(session, path);
  return text === null ? null : parseFloor(text, path);
}

/**
 * Remembers an epoch, durably, before anything is done under it.
 * @throws FulaError FULA_RECOVERY_EPOCH_FLOOR where a higher one, or another one of the same number, is remembered
 */
export async function raiseEpochFloor(
  session: SiteSession,
  site: Pick<PostgresSite, "rootDir" | "where">,
  epoch: Epoch,
): Promise<void> {
  const path = siteLayout(site).epochFloor;
  await changeSiteFile(session, path, (before) => {
    const floor = before === null ? null : parseFloor(before, path);
    const relation = floor === null ? "newer" : relateEpoch(epoch, floor);
    if (before !== null && relation === "same") return before;
    if (floor !== null && relation !== "newer") {
      throw new FulaError(
        "FULA_RECOVERY_EPOCH_FLOOR",
        `${site.where} has seen epoch ${formatEpoch(floor)} and does nothing under ${formatEpoch(epoch)}.`,
        {
          hint: "the control plane may have been set back to an older state: compare fula-master standby status on all masters.",
        },
      );
    }
    return `${JSON.stringify({ number: String(epoch.number), uuid: epoch.uuid })}\n`;
  });
}
