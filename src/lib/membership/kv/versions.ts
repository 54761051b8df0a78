/** The oldest nats-server that the control plane is kept on. */
export const NATS_VERSION_MIN = "2.12.3";

/** Something that a range of versions of nats-server does, which costs records or lets several writers win. */
interface Defect {
  /** The first version that has it; null where it is in all older ones. */
  readonly from: string | null;
  /** The first version that has it no more. */
  readonly until: string;
  /** A sentence without its stop. */
  readonly what: string;
}

/**
 * What is known, and by whom. That an older version has nothing in this list says only that nobody has told us.
 * Sources: nats-server #4319 (and 200 races of eight clients on 2.9.10: 172 had more than one winner), #5840, #6888
 * (Jepsen, 2.10.20 to 2.10.22) and #6188 (2.9.25); Synadia's answer to Jepsen's report on 2.12.1.
 */
const DEFECTS: readonly Defect[] = [
  { from: null, until: "2.9.21", what: "several writers can win one compare-and-swap (mended in 2.9.21)" },
  {
    from: "2.10.19",
    until: "2.10.20",
    what: "with one replica a compare-and-swap on an old revision succeeds (mended in 2.10.20)",
  },
  { from: null, until: "2.10.23", what: "whole streams are lost when servers crash (mended in 2.10.23)" },
  {
    from: null,
    until: NATS_VERSION_MIN,
    what: `taking a server out of the cluster can leave it without agreement (mended in ${NATS_VERSION_MIN})`,
  },
];

/** Major, minor and patch number; a pre-release counts as older than its release. */
type Version = readonly [number, number, number, number];

function parseVersion(text: string): Version | null {
  const match = /^v?(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?$/.exec(text);
  if (match === null) return null;
  const [, major, minor, patch, early] = match;
  return [Number(major), Number(minor), Number(patch), early === undefined ? 0 : -1];
}

function isBefore(a: Version, b: Version): boolean {
  const at = a.findIndex((part, index) => part !== b[index]);
  return at !== -1 && (a[at] ?? 0) < (b[at] ?? 0);
}

function hasDefect(version: Version, { from, until }: Defect): boolean {
  const [first, fixed] = [from === null ? null : parseVersion(from), parseVersion(until)];
  return (first === null || !isBefore(version, first)) && fixed !== null && isBefore(version, fixed);
}

/**
 * Tells why a version of nats-server is not trusted with the control plane.
 * @returns what is known of it, one sentence each without its stop; empty where nothing speaks against it
 */
export function reasonsAgainst(text: string): readonly string[] {
  const version = parseVersion(text);
  if (version === null) return ["it does not tell its version in a form that can be compared"];
  return DEFECTS.filter((defect) => hasDefect(version, defect)).map(({ what }) => what);
}
