import { installComplianceChecker } from "../infra/pinning-compliance.ts";
import { ensurePrograms } from "./debian-tools.ts";

/** S3 clients of other makers, and the Debian package that brings each. */
const S3_CLIENTS: Readonly<Record<string, string>> = { rclone: "rclone", s3cmd: "s3cmd" };

/** Installs, once a run of the drills and before any of them, what they use as real clients do. */
export default function installDrillTools(): void {
  ensurePrograms(S3_CLIENTS);
  installComplianceChecker();
}
