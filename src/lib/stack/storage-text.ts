import { resolvePaths } from "../config/paths.ts";
import type { StorageBox } from "./storage-box.ts";
import type { StorageClaim, StorageLook } from "./storage-verify.ts";

/** What an operator needs to know about a storage node that stands; `join-as-storage-node --json` prints it. */
export interface StorageSummary {
  readonly nodeName: string;
  readonly clusterId: string;
  /** Null where the peer did not answer. */
  readonly clusterPeerId: string | null;
  readonly kuboPeerId: string | null;
  readonly project: string;
  /** Host name or IP address under which other nodes reach it; null where none is announced. */
  readonly announce: string | null;
  /** Ports that other nodes must reach: TCP for the cluster, TCP and UDP for Kubo. */
  readonly ports: { readonly cluster: number; readonly kubo: number };
  readonly masters: readonly { readonly name: string; readonly clusterPeerId: string }[];
  readonly paths: { readonly baseDir: string; readonly configFile: string; readonly envFile: string };
  readonly claims: readonly StorageClaim[];
  readonly warnings: readonly string[];
  /** Commands to try next, ready to paste. */
  readonly next: readonly { readonly command: string; readonly explains: string }[];
}

function placeOption({ paths, context }: StorageBox): string {
  const usual = resolvePaths({ globals: {}, env: context.env, cwd: context.cwd });
  return usual.baseDir === paths.baseDir ? "" : ` --base-dir ${paths.baseDir}`;
}

function warningsOf({ wanted }: StorageBox): readonly string[] {
  if (wanted.config.node.announce !== null) return [];
  return [
    "No address is announced, so that other nodes may find no way to this one: add --announce <host name or IP address>.",
  ];
}

/** Puts together what stands now. */
export function summarizeStorage(box: StorageBox, look: StorageLook | null): StorageSummary {
  const { node, docker, cluster, kubo } = box.wanted.config;
  const { baseDir, configFile, envFile } = box.paths;
  const place = placeOption(box);
  return {
    nodeName: node.name,
    clusterId: box.clusterId,
    clusterPeerId: look?.clusterPeerId ?? null,
    kuboPeerId: look?.kuboPeerId ?? null,
    project: docker.project,
    announce: node.announce,
    ports: { cluster: cluster.swarmPort, kubo: kubo.swarmPort },
    masters: box.document.masters.map(({ name, clusterPeerId }) => ({ name, clusterPeerId })),
    paths: { baseDir, configFile, envFile },
    claims: look?.claims ?? [],
    warnings: warningsOf(box),
    next: [
      { command: `fula-master status${place}`, explains: "how this node is, on one screen" },
      {
        command: `fula-master join-as-storage-node${place}`,
        explains: "look at everything again, and mend what is not so",
      },
    ],
  };
}

/** One line a claim: `+` holds, `!` does not, with what to do. */
function renderClaims(claims: readonly StorageClaim[]): readonly string[] {
  return claims.flatMap(({ name, holds, message, remedy }) => [
    `  ${holds ? "+" : "!"} ${name.padEnd(12)}${message}`,
    ...(holds ? [] : [`      Try: ${remedy}`]),
  ]);
}

/** The closing screen. */
export function renderStorageSummary(summary: StorageSummary, outcome: "joined" | "already"): string {
  const { nodeName, clusterId, clusterPeerId, kuboPeerId, project, announce, ports, masters, paths } = summary;
  const facts: readonly (readonly [string, string])[] = [
    ["masters", masters.map(({ name }) => name).join(", ")],
    ["cluster", `${clusterId}, peer ${clusterPeerId ?? "unknown"}`],
    ["Kubo", kuboPeerId ?? "unknown"],
    ["reached at", `${announce ?? "(nothing announced)"}, TCP ${ports.cluster} and ${ports.kubo}, UDP ${ports.kubo}`],
    ["containers", `project ${project}`],
    ["settings", paths.configFile],
    ["secret", `${paths.envFile}  (CLUSTER_SECRET alone)`],
  ];
  return [
    outcome === "already"
      ? `${nodeName} is a storage node already; nothing was changed.`
      : `${nodeName} is a storage node: it replicates, and may change nothing.`,
    "",
    ...facts.map(([name, value]) => `  ${name.padEnd(14)}${value}`),
    ...(summary.claims.length === 0 ? [] : ["", ...renderClaims(summary.claims)]),
    ...(summary.warnings.length === 0 ? [] : ["", ...summary.warnings.map((warning) => `  WARNING  ${warning}`)]),
    "",
    "Try next:",
    ...summary.next.flatMap(({ command, explains }) => [`  # ${explains}`, `  ${command}`]),
  ].join("\n");
}
