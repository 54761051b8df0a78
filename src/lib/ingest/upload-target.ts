import { isLoopback } from "../config/addresses.ts";
import { FulaError } from "../kernel/errors.ts";

/** Where an object is to go. */
export interface ObjectName {
  readonly bucket: string;
  readonly key: string;
}

const TARGET = /^s3:\/\/([^/]+)\/(.+)$/s;

/** Reads `s3://<bucket>/<key>`. @throws FulaError FULA_USAGE */
export function parseObjectName(text: string): ObjectName {
  const [, bucket, key] = TARGET.exec(text) ?? [];
  if (bucket !== undefined && key !== undefined) return { bucket, key };
  throw new FulaError("FULA_USAGE", `${JSON.stringify(text.slice(0, 100))} does not name an object.`, {
    hint: "write it as s3://bucket/key; a key that ends in / is one, too.",
  });
}

/**
 * Reads the base URL of a gateway or of a storage node. A credential goes there, so it is to be https, or this box.
 * @throws FulaError FULA_USAGE
 */
export function parseBaseUrl(text: string, isInsecureAllowed: boolean): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isPlain = url?.username === "" && url.password === "" && url.search === "" && url.hash === "";
  if (url === null || !isPlain || (url.protocol !== "https:" && url.protocol !== "http:")) {
    throw new FulaError("FULA_USAGE", `${JSON.stringify(text.slice(0, 100))} is not the base URL of a server.`, {
      hint: "write it as https://gateway.example.com, without user, query and fragment.",
    });
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (url.protocol === "http:" && !isLoopback(host) && !isInsecureAllowed) {
    throw new FulaError(
      "FULA_USAGE",
      `${url.origin} is reached without TLS: whoever is on the way could take the token.`,
      {
        hint: "use its https:// address, or --insecure where the network is yours.",
      },
    );
  }
  return url;
}

/**
 * The URL of an object below a gateway's base URL.
 * @throws FulaError FULA_USAGE for a key that no URL can carry unchanged
 */
export function objectUrl(gateway: URL, { bucket, key }: ObjectName): URL {
  const path = `/${[bucket, ...key.split("/")].map(encodeURIComponent).join("/")}`;
  const url = below(gateway, path);
  if (url.pathname.endsWith(path)) return url;
  throw new FulaError("FULA_USAGE", `The key ${JSON.stringify(key.slice(0, 100))} cannot stand in a URL as it is.`, {
    hint: 'choose one without "." and ".." between its slashes, or use an S3 client that can send it.',
  });
}

/** A path below a base URL. */
export function below(base: URL, path: string): URL {
  return new URL(`${base.origin}${base.pathname.replace(/\/+$/, "")}${path}`);
}
