import { createPrivateKey, type KeyObject, webcrypto, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { Secret } from "../kernel/secret.ts";

/** A certificate and its private key (PKCS#8), both in PEM. */
export interface CertificateAndKey {
  readonly certificate: string;
  readonly key: Secret;
}

const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3_650;
const CERTIFICATE_DAYS = 730;
/** Clocks of boxes differ; a certificate must not be of tomorrow anywhere. */
const BACKDATED_MS = 3_600_000;
const SERIAL_BYTES = 16;
const EC = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNING = { name: "ECDSA", hash: "SHA-256" } as const;
const PEM_BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The certificates of a PEM text, in its order; null where it is not one, or holds none. */
export function certificatesIn(pem: string): readonly X509Certificate[] | null {
  try {
    const found = (pem.match(PEM_BLOCK) ?? []).map((block) => new X509Certificate(block));
    return found.length === 0 ? null : found;
  } catch {
    return null;
  }
}

/** A private key of PEM; null where the text is none. */
export function privateKeyIn(pem: string): KeyObject | null {
  try {
    return createPrivateKey(pem);
  } catch {
    return null;
  }
}

/** Loaded by whoever makes certificates, which is seldom: it takes longer than many a command does. */
async function loadX509(): Promise<typeof import("@peculiar/x509")> {
  // It refuses to load without it.
  await import("reflect-metadata");
  return await import("@peculiar/x509");
}

async function makeKeyPair(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(EC, true, ["sign", "verify"]);
}

async function privatePem(key: webcrypto.CryptoKey): Promise<Secret> {
  const { PemConverter } = await loadX509();
  return new Secret(PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY"));
}

function serialNumber(): string {
  const bytes = Buffer.from(webcrypto.getRandomValues(new Uint8Array(SERIAL_BYTES)));
  // RFC 5280 §4.1.2.2: positive, so that no reader takes the first bit for a sign; and not zero.
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

/** Makes who vouches for the servers of a federation: good for ten years, P-256. */
export async function makeAuthority(clusterId: string, nowMs: number): Promise<CertificateAndKey> {
  const keys = await makeKeyPair();
  const x509 = await loadX509();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serialNumber(),
      name: [{ CN: [`fula-master control plane ${clusterId}`] }],
      notBefore: new Date(nowMs - BACKDATED_MS),
      notAfter: new Date(nowMs + AUTHORITY_DAYS * DAY_MS),
      signingAlgorithm: SIGNING,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    },
    webcrypto,
  );
  return { certificate: certificate.toString("pem"), key: await privatePem(keys.privateKey) };
}

/**
 * Makes what the servers of one box show to those of others, and ask of them: good for two years, P-256.
 * @param names host names and IP addresses that the box is reached by
 */
export async function issueCertificate(
  authority: { readonly certificate: X509Certificate; readonly key: KeyObject },
  subject: { readonly name: string; readonly names: readonly string[] },
  nowMs: number,
): Promise<CertificateAndKey> {
  const keys = await makeKeyPair();
  const x509 = await loadX509();
  const issuer = new x509.X509Certificate(authority.certificate.raw);
  const signingKey = await webcrypto.subtle.importKey(
    "pkcs8",
    authority.key.export({ type: "pkcs8", format: "der" }),
    EC,
    false,
    ["sign"],
  );
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber(),
      subject: [{ CN: [subject.name] }],
      issuer: issuer.subject,
      notBefore: new Date(nowMs - BACKDATED_MS),
      // Nobody takes a certificate that outlives the one who vouches for it.
      notAfter: new Date(Math.min(nowMs + CERTIFICATE_DAYS * DAY_MS, issuer.notAfter.getTime())),
      signingAlgorithm: SIGNING,
      publicKey: keys.publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        // Of two servers either may be the one that calls.
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        new x509.SubjectAlternativeNameExtension(
          subject.names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value })),
        ),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      ],
    },
    webcrypto,
  );
  return { certificate: certificate.toString("pem"), key: await privatePem(keys.privateKey) };
}
