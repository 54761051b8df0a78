import { toolVersion } from "../kernel/project.ts";

/**
 * Labels by which Compose says what is whose (docker/compose, pkg/api/labels.go). We set the same ones, so that
 * `docker compose ls` and `ps` show what we make.
 */
export const LABELS = {
  project: "com.docker.compose.project",
  service: "com.docker.compose.service",
  configHash: "com.docker.compose.config-hash",
  containerNumber: "com.docker.compose.container-number",
  oneOff: "com.docker.compose.oneoff",
  workingDir: "com.docker.compose.project.working_dir",
  configFiles: "com.docker.compose.project.config_files",
  version: "com.docker.compose.version",
  network: "com.docker.compose.network",
  volume: "com.docker.compose.volume",
} as const;

const MADE_BY = "fula-master-";

/** Who made it: Compose sets its own version there. */
export function madeBy(): string {
  return `${MADE_BY}${toolVersion()}`;
}

/** True for what a fula-master made; volumes and networks do not say from which Compose file. */
export function isMadeByUs(labels: Readonly<Record<string, string>> | null | undefined): boolean {
  return labels?.[LABELS.version]?.startsWith(MADE_BY) === true;
}

/**
 * The Compose file from which a fula-master made a container, by its labels; null where somebody else made it, such as
 * an older installer.
 */
export function madeFrom(labels: Readonly<Record<string, string>>): string | null {
  if (!isMadeByUs(labels)) return null;
  return labels[LABELS.configFiles] ?? null;
}

/** Filter of the Engine API for what carries these labels. */
export function labelFilter(labels: Readonly<Record<string, string>>): { readonly label: string[] } {
  return { label: Object.entries(labels).map(([name, value]) => `${name}=${value}`) };
}
