import type { KeyObject, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { basename, join } from "node:path";
import { nkeys } from "@nats-io/transport-node";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { ensureDir, readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import { Secret } from "../kernel/secret.ts";
import type { CertificateAuthority } from "../membership/join-bundle.ts";
import { certificatesIn, issueCertificate, makeAuthority, privateKeyIn } from "./control-plane-certificates.ts";

/** Files of `keys/` that the control plane's servers are run with. */
export interface ControlPlaneKeyFiles {
  /** Certificates of those who vouch for servers, PEM; the newest is the first. */
  readonly ca: string;
  /** Private key of the first of them: PKCS#8 PEM. */
  readonly caKey: string;
  /** What this box's servers show to those of others: PEM. */
  readonly certificate: string;
  readonly key: string;
  /** Seed of the NKey that this box's programs log in with. */
  readonly userSeed: string;
  /** Seed of the NKey for the servers' own affairs: who is a member, who leads. */
  readonly systemSeed: string;
}

/** What the servers' configuration is made of: nothing that is secret is in it, but for `key`. */
export interface ControlPlaneKeys {
  readonly ca: string;
  readonly certificate: string;
  readonly key: Secret;
  /** Public NKeys. */
  readonly user: string;
  readonly system: string;
}

/** What a certificate is to say of a box. */
export interface NodeNames {
  readonly name: string;
  /** Host name or IP address under which other boxes reach it. */
  readonly announce: string | null;
}

const DAY_MS = 86_400_000;
/** A certificate with less time left is made anew: a quarter, in which every master has been restarted or joined again. */
const RENEW_BEFORE_MS = 90 * DAY_MS;
/** Names of the two services in the network of their Compose project, and of this box for itself. */
const OWN_NAMES = ["nats", "nats-witness", "127.0.0.1"];

/** Where a certificate of this box and its key lie. */
type CertificateFiles = Pick<ControlPlaneKeyFiles, "certificate" | "key">;

/** Names of the control plane's files in `keys/`. */
export function controlPlaneKeyFiles(keysDir: string): ControlPlaneKeyFiles {
  return {
    ca: join(keysDir, "control-plane-ca.pem"),
    caKey: join(keysDir, "control-plane-ca.key.pem"),
    certificate: join(keysDir, "control-plane.pem"),
    key: join(keysDir, "control-plane.key.pem"),
    userSeed: join(keysDir, "nats-user.nk"),
    systemSeed: join(keysDir, "nats-system.nk"),
  };
}

async function writeKey(path: string, text: string): Promise<void> {
  await writeFileAtomic(path, text.endsWith("\n") ? text : `${text}\n`, { mode: SECRET_FILE_MODE });
}

function invalid(path: string, what: string, cause?: unknown): FulaError {
  return new FulaError("FULA_CONTROL_PLANE_KEYS", `${path} ${what}.`, {
    cause,
    hint: "bring it back from your backup; or take it away, and fula-master join makes what it can.",
    details: { path },
  });
}

function publicKeyOf(seed: string, path: string): string {
  try {
    return nkeys.fromSeed(new TextEncoder().encode(seed.trim())).getPublicKey();
  } catch (error) {
    throw invalid(path, "holds no seed of an NKey", error);
  }
}

/**
 * The keys as they lie in `keys/`; null where one is missing. Writes nothing.
 * @throws FulaError FULA_CONTROL_PLANE_KEYS where one cannot be used
 */
export async function readControlPlaneKeys(keysDir: string): Promise<ControlPlaneKeys | null> {
  const files = controlPlaneKeyFiles(keysDir);
  const [ca, certificate, key, user, system] = await Promise.all(
    [files.ca, files.certificate, files.key, files.userSeed, files.systemSeed].map(readTextIfExists),
  );
  if (ca == null || certificate == null || key == null || user == null || system == null) return null;
  return {
    ca,
    certificate,
    key: new Secret(key),
    user: publicKeyOf(user, files.userSeed),
    system: publicKeyOf(system, files.systemSeed),
  };
}

/** The authority as it lies in `keys/`, as a join token brings it to others; null where there is none. */
export async function readAuthority(keysDir: string): Promise<CertificateAuthority | null> {
  const files = controlPlaneKeyFiles(keysDir);
  const [certificate, key] = await Promise.all([readTextIfExists(files.ca), readTextIfExists(files.caKey)]);
  return certificate === null || key === null ? null : { certificate, key: new Secret(key) };
}

interface Authority {
  /** All of them, the newest first. */
  readonly certificates: readonly X509Certificate[];
  readonly first: X509Certificate;
  readonly key: KeyObject;
}

/** @throws FulaError FULA_CONTROL_PLANE_KEYS where it is none, or the key is another's */
function parseAuthority({ certificate, key }: CertificateAuthority, files: ControlPlaneKeyFiles): Authority {
  const certificates = certificatesIn(certificate);
  const first = certificates?.[0];
  if (certificates === null || first === undefined) throw invalid(files.ca, "holds no certificate");
  const privateKey = privateKeyIn(key.reveal());
  if (privateKey === null) throw invalid(files.caKey, "holds no private key");
  if (!first.checkPrivateKey(privateKey)) throw invalid(files.caKey, `is not the key of the first one in ${files.ca}`);
  return { certificates, first, key: privateKey };
}

/**
 * Puts the authority of the federation into `keys/`: what the box had before is replaced, so `certificate` has to hold
 * the old ones too, for as long as servers show certificates of theirs. @returns false where it was there already
 * @throws FulaError FULA_CONTROL_PLANE_KEYS where the key is not that of the first certificate
 */
export async function writeAuthority(keysDir: string, authority: CertificateAuthority): Promise<boolean> {
  const files = controlPlaneKeyFiles(keysDir);
  parseAuthority(authority, files);
  const there = await readAuthority(keysDir);
  if (
    there?.certificate.trim() === authority.certificate.trim() &&
    there.key.reveal().trim() === authority.key.reveal().trim()
  ) {
    return false;
  }
  await ensureDir(keysDir);
  await writeKey(files.caKey, authority.key.reveal());
  await writeKey(files.ca, authority.certificate);
  return true;
}

/** Names that a box's certificate must be good for. */
function namesOf({ name, announce }: NodeNames): readonly string[] {
  return [...new Set([name, ...(announce === null ? [] : [announce]), ...OWN_NAMES])];
}

function isGoodFor(certificate: X509Certificate, name: string): boolean {
  if (isIP(name) !== 0) return certificate.checkIP(name) !== undefined;
  // Not `checkHost`: a node's name need not be one that a host could have.
  return (certificate.subjectAltName ?? "").split(", ").includes(`DNS:${name}`);
}

/**
 * Why a box needs another certificate; null where the one that it has will do.
 * @param pem what it has; null = nothing
 * @param authority the certificate of who would sign it
 */
function whyNewCertificate(
  pem: { readonly certificate: string; readonly key: string } | null,
  authority: X509Certificate,
  names: readonly string[],
  nowMs: number,
): string | null {
  if (pem === null) return "there is none";
  const [certificate] = certificatesIn(pem.certificate) ?? [];
  const key = privateKeyIn(pem.key);
  if (certificate === undefined || key === null) return "what is there cannot be read";
  if (!certificate.checkPrivateKey(key)) return "the key that is there is another's";
  if (!certificate.verify(authority.publicKey)) return "the federation has a new certificate authority";
  const missing = names.find((name) => !isGoodFor(certificate, name));
  if (missing !== undefined) return `it does not name ${missing}`;
  if (nowMs < certificate.validFromDate.getTime()) return "it is of the future";
  const endsMs = certificate.validToDate.getTime();
  // A new one would end with its authority, too, and be made anew at every look.
  if (endsMs >= authority.validToDate.getTime()) return null;
  const leftMs = endsMs - nowMs;
  return leftMs < RENEW_BEFORE_MS ? `it is good for ${Math.max(Math.floor(leftMs / DAY_MS), 0)} more days` : null;
}

async function readOwn(
  files: CertificateFiles,
): Promise<{ readonly certificate: string; readonly key: string } | null> {
  const [certificate, key] = await Promise.all([readTextIfExists(files.certificate), readTextIfExists(files.key)]);
  return certificate === null || key === null ? null : { certificate, key };
}

/** What `join` would make, or make anew, in a few words each. Writes nothing. */
export async function missingControlPlaneKeys(
  keysDir: string,
  node: NodeNames,
  authority: CertificateAuthority | null,
  clock: Clock,
): Promise<readonly string[]> {
  const files = controlPlaneKeyFiles(keysDir);
  const there = authority ?? (await readAuthority(keysDir));
  const missing: string[] = [];
  if (there === null) missing.push(`write ${files.ca}`, `write ${files.certificate}`);
  else {
    if (authority !== null && (await readAuthority(keysDir)) === null) missing.push(`write ${files.ca}`);
    const { first } = parseAuthority(there, files);
    const why = whyNewCertificate(await readOwn(files), first, namesOf(node), clock.nowMs());
    if (why !== null) missing.push(`write ${files.certificate}: ${why}`);
  }
  for (const seed of [files.userSeed, files.systemSeed]) {
    if ((await readTextIfExists(seed)) === null) missing.push(`write ${seed}`);
  }
  return missing;
}

async function ensureSeed(path: string): Promise<boolean> {
  const there = await readTextIfExists(path);
  if (there !== null) {
    publicKeyOf(there, path);
    return false;
  }
  await writeKey(path, new TextDecoder().decode(nkeys.createUser().getSeed()));
  return true;
}

/** Makes the certificate of this box's servers of the control plane where the one that it has will not do. @returns why; null where not */
export async function ensureNodeCertificate(keysDir: string, node: NodeNames, clock: Clock): Promise<string | null> {
  const subject = { name: node.name, names: namesOf(node) };
  return await ensureCertificate(keysDir, controlPlaneKeyFiles(keysDir), subject, clock);
}

/**
 * Has the federation's authority vouch for this box, where what lies in `files` will not do.
 * @param subject the name of the box, and all names and addresses that the certificate has to be good for
 * @returns why a new one was made; null where not
 * @throws FulaError FULA_CONTROL_PLANE_KEYS where there is no authority, or it cannot be used
 */
export async function ensureCertificate(
  keysDir: string,
  files: CertificateFiles,
  subject: { readonly name: string; readonly names: readonly string[] },
  clock: Clock,
  { dryRun = false }: { readonly dryRun?: boolean } = {},
): Promise<string | null> {
  const own = controlPlaneKeyFiles(keysDir);
  const there = await readAuthority(keysDir);
  if (there === null) throw invalid(own.ca, "or its key is missing");
  const authority = parseAuthority(there, own);
  const why = whyNewCertificate(await readOwn(files), authority.first, subject.names, clock.nowMs());
  if (why === null || dryRun) return why;
  const made = await issueCertificate({ certificate: authority.first, key: authority.key }, subject, clock.nowMs());
  await writeKey(files.key, made.key.reveal());
  await writeKey(files.certificate, made.certificate);
  return why;
}

/**
 * Makes what is missing of the keys of this box's servers; what is there stays, but for a certificate that will not do.
 * @param authority what a join token brought; null = the first master, which makes one
 * @returns what was made, in a few words each
 * @throws FulaError FULA_CONTROL_PLANE_KEYS where something that is there cannot be used
 */
export async function ensureControlPlaneKeys(
  keysDir: string,
  facts: { readonly clusterId: string; readonly node: NodeNames; readonly authority: CertificateAuthority | null },
  clock: Clock,
): Promise<readonly string[]> {
  const files = controlPlaneKeyFiles(keysDir);
  const made: string[] = [];
  if (facts.authority !== null && (await writeAuthority(keysDir, facts.authority))) made.push("the federation's CA");
  if ((await readAuthority(keysDir)) === null) {
    await writeAuthority(keysDir, await makeAuthority(facts.clusterId, clock.nowMs()));
    made.push("a certificate authority");
  }
  if ((await ensureNodeCertificate(keysDir, facts.node, clock)) !== null) made.push("a certificate");
  for (const path of [files.userSeed, files.systemSeed]) if (await ensureSeed(path)) made.push(basename(path));
  return made;
}
