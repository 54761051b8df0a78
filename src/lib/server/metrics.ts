import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { HealthReport } from "./health.ts";
import { type BackupMetrics, type BackupScrape, createBackupMetrics } from "./metrics-backup.ts";
import { type BucketMetrics, createBucketMetrics } from "./metrics-buckets.ts";
import { createIngestMetrics, type IngestMetrics } from "./metrics-ingest.ts";
import { createIdentityMetrics, type IdentityMetrics } from "./metrics-identity.ts";
import { type ControlPlaneMetrics, createControlPlaneMetrics } from "./metrics-control-plane.ts";
import { createStandbyMetrics, type StandbyMetrics } from "./metrics-standby.ts";
import { createPinningMetrics, type PinningMetrics } from "./metrics-pinning.ts";
import { type BillingMetrics, type BillingScrape, createBillingMetrics } from "./metrics-billing.ts";

/** Where a request came in. */
type Listener = "ops" | "gateway" | "api" | "ingest";

/** One finished HTTP request, as the metrics count it. */
export interface RequestObservation {
  readonly listener: Listener;
  /** Upper case; anything unusual counts as `OTHER`, so that clients cannot make up labels. */
  readonly method: string;
  readonly status: number;
  readonly durationMs: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

/** What is measured when somebody scrapes, beside what is counted as it happens. */
export interface ScrapeFacts {
  readonly health: HealthReport;
  /** Null where it could not be read: the metric is then absent, not zero. */
  readonly pins: number | null;
  readonly diskFreeBytes: number | null;
  readonly snapshotAgeSeconds: number | null;
  /** Unix time in seconds of each job's last success; a job that never succeeded is missing. */
  readonly jobSuccess: ReadonlyMap<string, number>;
  /** Services in containers of our own, and whether each is well; null where there are none or it is not known. */
  readonly wellServices: ReadonlyMap<string, boolean> | null;
  /** What the last sweep that read the whole pinset found; null where there is none. */
  readonly sweep: { readonly belowPins: number; readonly lostPins: number } | null;
  /** Null where this box takes no part in billing, or the ledger could not be read. */
  readonly billing: BillingScrape | null;
  /** Null where this box is to have no base backups, or they could not be looked at. */
  readonly backup: BackupScrape | null;
}

/** The metrics of one server. docs/serve.md lists them; a test compares the two. */
export interface Metrics {
  readonly contentType: string;
  /** Names with type and help text, for docs/serve.md. */
  describe(): readonly { readonly name: string; readonly type: string; readonly help: string }[];
  requestStarted(listener: Listener): void;
  requestFinished(observation: RequestObservation): void;
  /** Counts a restart of a container of our own. */
  containerRestarted(service: string): void;
  /** Counts an S3 error code that was answered. */
  refused(code: string): void;
  /** Counts a request that failed on a block which is not to be had, or is damaged. */
  blockMissed(): void;
  /** Lease, billing and deposits. */
  readonly billing: BillingMetrics;
  /** Roots, flushes and what our node holds. */
  readonly buckets: BucketMetrics;
  /** The pin queue. */
  readonly pinning: PinningMetrics;
  /** Who is not let in any more. */
  readonly identity: IdentityMetrics;
  /** Who may act, and the servers that know. */
  readonly controlPlane: ControlPlaneMetrics;
  /** The ledger's servers. */
  readonly standbys: StandbyMetrics;
  /** Base backups of the ledger and the archive of its WAL. */
  readonly backups: BackupMetrics;
  /** What a storage node takes in. */
  readonly ingest: IngestMetrics;
  /** Prometheus text. */
  render(facts: ScrapeFacts): Promise<string>;
}

/** From one block out of the page cache to a 5 GiB object over a slow line. */
const DURATION_BUCKETS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const KNOWN_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]);

interface Instruments {
  readonly requests: Counter<"listener" | "method" | "status_class">;
  readonly duration: Histogram<"listener" | "method" | "status_class">;
  readonly inFlight: Gauge<"listener">;
  readonly received: Counter<"listener">;
  readonly sent: Counter<"listener">;
  readonly errors: Counter<"code">;
  readonly missedBlocks: Counter;
  readonly up: Gauge<"dependency">;
  readonly latency: Gauge<"dependency">;
  readonly ready: Gauge;
  readonly pins: Gauge;
  readonly diskFree: Gauge;
  readonly snapshotAge: Gauge;
  readonly jobSuccess: Gauge<"job">;
  readonly containerRestarts: Counter<"service">;
  readonly containerUp: Gauge<"service">;
  readonly sweepBelow: Gauge;
  readonly sweepLost: Gauge;
}

function requestInstruments(
  registers: Registry[],
): Pick<Instruments, "requests" | "duration" | "inFlight" | "received" | "sent" | "errors" | "missedBlocks"> {
  const requestLabels = ["listener", "method", "status_class"] as const;
  return {
    requests: new Counter({
      name: "fula_http_requests_total",
      help: "Finished HTTP requests.",
      labelNames: requestLabels,
      registers,
    }),
    duration: new Histogram({
      name: "fula_http_request_duration_seconds",
      help: "Time from the request line to the last byte of the answer.",
      labelNames: requestLabels,
      buckets: DURATION_BUCKETS_SECONDS,
      registers,
    }),
    inFlight: new Gauge({
      name: "fula_http_requests_in_flight",
      help: "HTTP requests that are being worked on.",
      labelNames: ["listener"],
      registers,
    }),
    received: new Counter({
      name: "fula_http_received_bytes_total",
      help: "Bytes of request bodies that were read.",
      labelNames: ["listener"],
      registers,
    }),
    sent: new Counter({
      name: "fula_http_sent_bytes_total",
      help: "Bytes of response bodies that were written.",
      labelNames: ["listener"],
      registers,
    }),
    errors: new Counter({
      name: "fula_gateway_errors_total",
      help: "Answers of the gateway by S3 error code.",
      labelNames: ["code"],
      registers,
    }),
    missedBlocks: new Counter({
      name: "fula_gateway_missed_blocks_total",
      help: "Requests to the gateway that failed on a block of an object or an index which is missing or damaged.",
      registers,
    }),
  };
}

function stateInstruments(registers: Registry[]): Omit<Instruments, keyof ReturnType<typeof requestInstruments>> {
  return {
    up: new Gauge({
      name: "fula_dependency_up",
      help: "1 where the dependency's readiness check is ok or degraded, 0 where it failed.",
      labelNames: ["dependency"],
      registers,
    }),
    latency: new Gauge({
      name: "fula_dependency_latency_seconds",
      help: "How long the dependency's last readiness check took.",
      labelNames: ["dependency"],
      registers,
    }),
    ready: new Gauge({ name: "fula_ready", help: "1 where /readyz answers 200, else 0.", registers }),
    pins: new Gauge({ name: "fula_pins", help: "Pins in the pinset.", registers }),
    diskFree: new Gauge({
      name: "fula_disk_free_bytes",
      help: "Free bytes of the file system that holds the base directory.",
      registers,
    }),
    snapshotAge: new Gauge({
      name: "fula_snapshot_age_seconds",
      help: "Age of the last good snapshot; absent where there is none.",
      registers,
    }),
    containerRestarts: new Counter({
      name: "fula_container_restarts_total",
      help: "Containers that were down or unhealthy and that this process started again.",
      labelNames: ["service"],
      registers,
    }),
    containerUp: new Gauge({
      name: "fula_container_up",
      help: "1 where the service's container runs and is healthy, else 0; absent where the engine gives no answer.",
      labelNames: ["service"],
      registers,
    }),
    sweepBelow: new Gauge({
      name: "fula_sweep_below_pins",
      help: "Pins that too few peers held at the end of the last sweep; absent where none read the whole pinset.",
      registers,
    }),
    sweepLost: new Gauge({
      name: "fula_sweep_lost_pins",
      help: "Those of them that no peer held.",
      registers,
    }),
    jobSuccess: new Gauge({
      name: "fula_job_last_success_timestamp_seconds",
      help: "Unix time of a job's last success; absent where it never succeeded.",
      labelNames: ["job"],
      registers,
    }),
  };
}

function setOrDrop(gauge: Gauge, value: number | null): void {
  if (value === null) gauge.remove();
  else gauge.set(value);
}

function applyFacts(instruments: Instruments, facts: ScrapeFacts): void {
  for (const { name, state, latencyMs } of facts.health.checks) {
    instruments.up.set({ dependency: name }, state === "failed" ? 0 : 1);
    instruments.latency.set({ dependency: name }, latencyMs / 1_000);
  }
  instruments.ready.set(facts.health.status === "unready" ? 0 : 1);
  setOrDrop(instruments.pins, facts.pins);
  setOrDrop(instruments.diskFree, facts.diskFreeBytes);
  setOrDrop(instruments.snapshotAge, facts.snapshotAgeSeconds);
  setOrDrop(instruments.sweepBelow, facts.sweep?.belowPins ?? null);
  setOrDrop(instruments.sweepLost, facts.sweep?.lostPins ?? null);
  instruments.containerUp.reset();
  for (const [service, isWell] of facts.wellServices ?? []) instruments.containerUp.set({ service }, isWell ? 1 : 0);
  instruments.jobSuccess.reset();
  for (const [job, seconds] of facts.jobSuccess) instruments.jobSuccess.set({ job }, seconds);
}

function labelsOf(observation: RequestObservation): { listener: string; method: string; status_class: string } {
  const { listener, method, status } = observation;
  return {
    listener,
    method: KNOWN_METHODS.has(method) ? method : "OTHER",
    status_class: `${Math.floor(status / 100)}xx`,
  };
}

/** Makes the metrics of one server, in a registry of its own. */
export function createMetrics(build: { readonly version: string; readonly nodeVersion: string }): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry, prefix: "fula_" });
  new Gauge({
    name: "fula_build_info",
    help: "Always 1; the labels tell what runs.",
    labelNames: ["version", "node_version"],
    registers,
  }).set({ version: build.version, node_version: build.nodeVersion }, 1);
  const instruments: Instruments = { ...requestInstruments(registers), ...stateInstruments(registers) };
  const billing = createBillingMetrics(registers);
  const buckets = createBucketMetrics(registers);
  const pinning = createPinningMetrics(registers);
  const identity = createIdentityMetrics(registers);
  const controlPlane = createControlPlaneMetrics(registers);
  const standbys = createStandbyMetrics(registers);
  const backups = createBackupMetrics(registers);
  const ingest = createIngestMetrics(registers);
  return {
    contentType: registry.contentType,
    describe: () => registry.getMetricsAsArray().map(({ name, type, help }) => ({ name, type: String(type), help })),
    requestStarted: (listener) => {
      instruments.inFlight.inc({ listener });
    },
    requestFinished: (observation) => {
      const { listener, durationMs, receivedBytes, sentBytes } = observation;
      const labels = labelsOf(observation);
      instruments.inFlight.dec({ listener });
      instruments.requests.inc(labels);
      instruments.duration.observe(labels, durationMs / 1_000);
      instruments.received.inc({ listener }, receivedBytes);
      instruments.sent.inc({ listener }, sentBytes);
    },
    containerRestarted: (service) => {
      instruments.containerRestarts.inc({ service });
    },
    refused: (code) => {
      instruments.errors.inc({ code });
    },
    blockMissed: () => {
      instruments.missedBlocks.inc();
    },
    billing,
    buckets,
    pinning,
    identity,
    controlPlane,
    standbys,
    backups,
    ingest,
    render: async (facts) => {
      applyFacts(instruments, facts);
      billing.apply(facts.billing);
      backups.apply(facts.backup);
      for (const [job, seconds] of billing.jobSuccess()) instruments.jobSuccess.set({ job }, seconds);
      return await registry.metrics();
    },
  };
}
