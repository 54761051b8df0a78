import type { Pin, PinStatus } from "../lib/cluster/pins.ts";
import type { PinSettings } from "../lib/pinset/pin-settings.ts";
import type { OpenPinCluster } from "../lib/stack/pinset.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";
import { formatCount } from "../lib/kernel/units.ts";

async function withPins<T>(context: CommandContext, use: (cluster: OpenPinCluster) => Promise<T>): Promise<T> {
  const { loadConfig } = await import("../lib/config/load.ts");
  const { withPinCluster } = await import("../lib/stack/pinset.ts");
  return withPinCluster(await loadConfig(context), { clock: context.clock }, use);
}

function copiesText({ replication_factor_min: min, replication_factor_max: max }: Pin): string {
  if (min < 0) return "all";
  return min === max ? String(min) : `${min}-${max}`;
}

function pinLine(pin: Pin): string {
  const expiry = pin.expire_at ?? "never";
  return `${pin.cid.padEnd(59)}  ${pin.mode.padEnd(9)}  ${copiesText(pin).padEnd(6)}  ${expiry.padEnd(20)}  ${pin.name}`;
}

const pinListCommand = defineCommand<{ readonly name?: string; readonly expired?: boolean }>({
  name: "ls",
  aliases: ["list"],
  summary: "list every pin",
  description: "Lists every pin in the order of its CID. Reads only; works while serve runs and while it does not.",
  examples: [
    { command: "fula-master pin ls", explains: "CID, mode, copies, expiry and name, one line a pin" },
    { command: "fula-master pin ls --json | wc -l", explains: "count them: each line is one whole record" },
    { command: "fula-master pin ls --name photos/", explains: "only pins whose name begins like this" },
  ],
  options: [
    { flags: "--name <prefix>", description: "only pins whose name begins with this text" },
    { flags: "--expired", description: "only pins whose time is over" },
  ],
  run: async (context, { name: prefix = "", expired = false }) => {
    const { hasExpired } = await import("../lib/pinset/judge-pin.ts");
    const { inOrder } = await import("../lib/pinset/in-order.ts");
    const { printableLine } = await import("../lib/terminal/printable.ts");
    const { out, clock, signal } = context;
    await withPins(context, async (cluster) => {
      const nowMs = clock.nowMs();
      let listed = 0;
      for await (const pin of inOrder(cluster).pins(signal)) {
        if (!pin.name.startsWith(prefix) || (expired && !hasExpired(pin, nowMs))) continue;
        await out.recordSlowly(pin, () => printableLine(pinLine(pin)).trimEnd());
        listed += 1;
      }
      out.note(formatCount(listed, "pin"));
    });
  },
});

const pinAddCommand = defineCommand<PinSettings & { readonly dryRun?: boolean }>({
  name: "add",
  summary: "pin content that is on this box",
  description:
    "Writes a pin for each CID, then looks whether all of its blocks are here; exits 1 where they are not. The peers " +
    "of a cluster fetch them in their own time: there it exits 1 where one says that it cannot. " +
    "A CID that is pinned already keeps every option that is not named.",
  examples: [
    { command: "fula-master pin add bafybei... --name photos/2026", explains: "pin everything below this CID" },
    { command: "fula-master pin add bafybei... --expire 30d", explains: "make a pin end in thirty days" },
    { command: "fula-master pin add bafkrei... --mode direct", explains: "pin this one block, not what it names" },
  ],
  arguments: [{ name: "cid", description: "what to pin", required: true, variadic: true }],
  options: [
    { flags: "--name <text>", description: "what the pin is called" },
    {
      flags: "--mode <mode>",
      description: "the whole graph or the root block alone",
      choices: ["recursive", "direct"],
    },
    { flags: "--expire <when>", description: 'when the pin ends: "30d", a UTC time, or "never"' },
    {
      flags: "--copies <count>",
      description:
        'how many peers must hold it, or "all" (default: all; in a cluster what cluster.replicationMin and cluster.replicationMax say)',
    },
    { flags: "--metadata <key=value...>", description: "facts to keep with the pin; give them after the CIDs" },
  ],
  changes: true,
  requires: "operator",
  run: async (context, options, args) => {
    const { formatUtc } = await import("../lib/kernel/clock.ts");
    const { parseCid } = await import("../lib/blocks/cid.ts");
    const { planPin } = await import("../lib/pinset/pin-change.ts");
    const { parsePinSettings } = await import("../lib/pinset/pin-settings.ts");
    const { out, clock } = context;
    const settings = parsePinSettings(options, clock.nowMs());
    const cids = args.map((text) => parseCid(text).toString());
    return withPins(context, async (cluster) => {
      let whole = true;
      for (const cid of cids) {
        const existing = await cluster.pin(cid);
        const wanted = existing === null ? { ...cluster.defaultFactors, ...settings } : settings;
        const plan = planPin(existing, cid, formatUtc(clock.nowMs()), wanted);
        if (options.dryRun === true) {
          out.record(
            { ...plan, dryRun: true },
            () => `${cid}  would be ${CHANGE_WORDS[plan.change]}${changedText(plan.fields)}`,
          );
          continue;
        }
        if (plan.change !== "already") await cluster.put(plan.pin);
        const status = await cluster.status(cid, { signal: context.signal });
        whole &&=
          holders(status).length > 0 && holders(status).every((peer) => peer.status === "pinned" || isOnItsWay(peer));
        out.record(
          { ...plan, status },
          () => `${cid}  ${CHANGE_WORDS[plan.change]}${changedText(plan.fields)}; ${standing(status)}`,
        );
      }
      return whole ? 0 : 1;
    });
  },
});

const CHANGE_WORDS = { new: "pinned", changed: "changed", already: "already pinned" } as const;

function changedText(fields: readonly string[]): string {
  return fields.length === 0 ? "" : ` (${fields.join(", ")})`;
}

type PeerStanding = PinStatus["peers"][number];

/** The peers that shall hold a pin: not those that only know that others do. */
function holders(status: PinStatus | null): readonly PeerStanding[] {
  return (status?.peers ?? []).filter((peer) => peer.status !== "remote" && peer.status !== "sharded");
}

/** Of a pin that was just made, "unpinned" says that the peer has not heard of it yet. */
function isOnItsWay({ status }: PeerStanding): boolean {
  return status === "pinning" || status === "pin_queued" || status === "unpinned";
}

function isPinned(status: PinStatus | null): boolean {
  return holders(status).length > 0 && holders(status).every((peer) => peer.status === "pinned");
}

function standing(status: PinStatus | null): string {
  if (status === null) return "not pinned";
  return holders(status)
    .map(({ peer, status: state, error }) => `${state} on ${peer}${error === "" ? "" : `: ${error}`}`)
    .join("; ");
}

const pinRemoveCommand = defineCommand<{ readonly dryRun?: boolean; readonly yes?: boolean }>({
  name: "rm",
  aliases: ["remove"],
  summary: "remove pins",
  description:
    "Removes the pins of these CIDs. Their blocks stay on the disk, so a pin that was removed by mistake can be restored " +
    "from a snapshot. Exits 1 where one was not pinned.",
  examples: [
    { command: "fula-master pin rm bafybei...", explains: "remove one, after asking" },
    { command: "fula-master pin rm bafybei... bafkrei... --yes", explains: "remove two without asking" },
  ],
  arguments: [{ name: "cid", description: "whose pin to remove", required: true, variadic: true }],
  changes: true,
  asks: true,
  requires: "operator",
  run: async (context, options, args) => {
    const { parseCid } = await import("../lib/blocks/cid.ts");
    const { out } = context;
    const cids = args.map((text) => parseCid(text).toString());
    return withPins(context, async (cluster) => {
      if (options.dryRun !== true) {
        const what = cids.length === 1 ? `the pin of ${cids[0] ?? ""}` : `${cids.length} pins`;
        await out.confirm(`Remove ${what}?`, options.yes === true);
      }
      let allThere = true;
      for (const cid of cids) {
        const dryRun = options.dryRun === true;
        const found = dryRun ? (await cluster.pin(cid)) !== null : await cluster.remove(cid);
        allThere &&= found;
        const words = dryRun ? "would be removed" : "removed";
        out.record(
          { cid, removed: found && !dryRun, found, dryRun },
          () => `${cid}  ${found ? words : "is not pinned"}`,
        );
      }
      return allThere ? 0 : 1;
    });
  },
});

const pinStatusCommand = defineCommand<{ readonly deep?: boolean }>({
  name: "status",
  summary: "show where a pin really stands",
  description:
    "Shows each pin's record and what every peer that should hold it says after looking at its blocks. Reads only. " +
    "Exits 1 where one is not pinned on every peer that was asked.",
  examples: [
    { command: "fula-master pin status bafybei...", explains: "are all of its blocks here?" },
    { command: "fula-master pin status bafybei... --deep", explains: "and do their bytes match their hashes?" },
  ],
  arguments: [{ name: "cid", description: "whose pin to look at", required: true, variadic: true }],
  options: [{ flags: "--deep", description: "read and re-hash every block" }],
  run: async (context, { deep }, args) => {
    const { parseCid } = await import("../lib/blocks/cid.ts");
    const { printableLine } = await import("../lib/terminal/printable.ts");
    const cids = args.map((text) => parseCid(text).toString());
    return withPins(context, async (cluster) => {
      let whole = true;
      for (const cid of cids) {
        const pin = await cluster.pin(cid);
        const status = pin === null ? null : await cluster.status(cid, { deep: deep === true, signal: context.signal });
        whole &&= isPinned(status);
        context.out.record({ cid, pin, status }, () => printableLine(`${cid}  ${standing(status)}`));
      }
      return whole ? 0 : 1;
    });
  },
});

/** `fula-master pin`: the pinset of this master, pin by pin. */
export const pinCommand = defineCommand({
  name: "pin",
  summary: "list, add, remove and check pins",
  description: "Works on single pins of this master's pinset, also while serve runs.",
  examples: [
    { command: "fula-master pin ls", explains: "every pin" },
    { command: "fula-master pin status bafybei...", explains: "is this one really here?" },
  ],
  subcommands: [pinListCommand, pinAddCommand, pinRemoveCommand, pinStatusCommand],
});
