import type { CID } from "multiformats/cid";
import { parseCid } from "../../blocks/cid.ts";
import { percentDecode, type RawRequest, utf8OrNull } from "../../identity/raw-request.ts";
import { messageOf } from "../../kernel/errors.ts";
import { type QueryMap, readQuery } from "../query.ts";
import { S3Error } from "../s3-error.ts";
import { acceptedFormats, carFormat, type ContentFormat, namesCar } from "./accept.ts";

/** How much is sent of what a path ends at: its block, what a file or a directory consists of, or all below it. */
export type DagScope = "block" | "entity" | "all";

/** A part of a file, both ends included. Numbers below zero count from its end; `to` null is its end. */
export interface EntityBytes {
  readonly from: bigint;
  readonly to: bigint | null;
}

/** A request of the trustless gateway (https://specs.ipfs.tech/http-gateways/trustless-gateway/). */
export interface ContentRequest {
  readonly root: CID;
  /** The root as the client spelled it. */
  readonly rootText: string;
  /** Names to follow from the root on. */
  readonly segments: readonly string[];
  readonly format: ContentFormat;
  readonly scope: DagScope;
  readonly bytes: EntityBytes | null;
  /** What the client wants to have the answer saved as. */
  readonly fileName: string | null;
  /** True where the client would rather have nothing than wait. */
  readonly onlyIfCached: boolean;
  /** The same request with its format in the address, for caches that look at nothing else; null where it is there. */
  readonly location: string | null;
}

const PREFIX = "/ipfs/";
/** Deeper paths are nobody's directory, and each segment costs a look at a block. */
const SEGMENTS_MAX = 64;
const SCOPES: readonly DagScope[] = ["block", "entity", "all"];
const HINT = "Ask for format=raw or format=car, or send Accept: application/vnd.ipld.raw or application/vnd.ipld.car";

/** True for a request about contents by their CIDs. A signed one is about a bucket that is named `ipfs`. */
export function isContentRequest({ method, path, query, headers }: RawRequest): boolean {
  if ((method !== "GET" && method !== "HEAD") || !path.startsWith(PREFIX) || path === PREFIX) return false;
  return (
    !headers.has("authorization") && !/(?:^|&)(?:X-Amz-(?:Algorithm|Credential|Signature)|Signature)=/i.test(query)
  );
}

function invalid(why: string): S3Error {
  return new S3Error("InvalidRequest", why);
}

function parsePath(path: string): { readonly rootText: string; readonly segments: readonly string[] } {
  const [rootText = "", ...rest] = path
    .slice(PREFIX.length)
    .split("/")
    .map((part) => {
      const text = utf8OrNull(percentDecode(part));
      if (text === null) throw invalid("The path is not UTF-8.");
      return text;
    });
  const segments = rest.filter((segment) => segment !== "");
  if (segments.length > SEGMENTS_MAX) throw invalid(`The path has more than ${SEGMENTS_MAX} segments.`);
  return { rootText, segments };
}

function parseRoot(text: string): CID {
  try {
    return parseCid(text);
  } catch (error) {
    throw invalid(messageOf(error));
  }
}

function notAcceptable(why: string): S3Error {
  return new S3Error("NotAcceptable", `${why} ${HINT}.`);
}

function carOf(query: QueryMap, accept: string): ContentFormat {
  const wish = (name: string): string | null => query.get(`car-${name}`) ?? null;
  const wishes = { version: wish("version"), order: wish("order"), dups: wish("dups") };
  const asked = carFormat(wishes);
  if (asked === null) throw invalid("There are CAR files of car-version=1, car-order=dfs, and car-dups=y or n alone.");
  const accepted = acceptedFormats(accept).find(({ kind }) => kind === "car");
  if (accepted === undefined && namesCar(accept)) throw notAcceptable("There are no CAR files of this kind.");
  return wishes.dups === null && accepted !== undefined ? accepted : asked;
}

function chooseFormat(query: QueryMap, accept: string): ContentFormat {
  const format = query.get("format");
  if (format === "raw") return { kind: "raw" };
  if (format === "car") return carOf(query, accept);
  if (format !== undefined) throw notAcceptable("Only what a client can verify by itself is given out.");
  const [first] = acceptedFormats(accept);
  if (first === undefined) throw notAcceptable("Only what a client can verify by itself is given out.");
  return first.kind === "car" ? carOf(query, accept) : first;
}

function parseScope(text: string | undefined): DagScope {
  const scope = SCOPES.find((known) => known === (text ?? "all"));
  if (scope === undefined) throw invalid(`dag-scope must be one of ${SCOPES.join(", ")}.`);
  return scope;
}

function parseBytes(text: string | undefined): EntityBytes | null {
  if (text === undefined) return null;
  const match = /^(-?\d{1,18}):(-?\d{1,18}|\*)$/.exec(text);
  if (match === null) throw invalid("entity-bytes must be <from>:<to>, whole numbers of bytes; * stands for the end.");
  const [, from = "", to = ""] = match;
  return { from: BigInt(from), to: to === "*" ? null : BigInt(to) };
}

function isAboutFormat(parameter: string): boolean {
  return /^(?:format|car-(?:version|order|dups))(?:=|$)/.test(parameter);
}

/** The address that says by itself what was negotiated; null where the one that was asked does. */
function locationOf({ path, query: rawQuery }: RawRequest, query: QueryMap, format: ContentFormat): string | null {
  const isTold = query.get("format") === format.kind;
  const dups = format.kind === "car" && format.dups ? "y" : "n";
  if (isTold && (format.kind === "raw" || (query.get("car-dups") ?? "n") === dups)) return null;
  const others = rawQuery.split("&").filter((parameter) => parameter !== "" && !isAboutFormat(parameter));
  const own =
    format.kind === "raw" ? ["format=raw"] : ["format=car", "car-version=1", "car-order=dfs", `car-dups=${dups}`];
  return `${path}?${[...others, ...own].join("&")}`;
}

/**
 * Reads a request about a content.
 * @throws S3Error InvalidRequest for what is malformed, NotAcceptable for formats that we do not give; Refusal InvalidURI
 */
export function readContentRequest(raw: RawRequest): ContentRequest {
  const { rootText, segments } = parsePath(raw.path);
  const root = parseRoot(rootText);
  const query = readQuery(raw.query);
  const format = chooseFormat(query, raw.headers.all("accept").join(","));
  if (format.kind === "raw" && segments.length > 0) {
    throw invalid("A single block is asked for by its own CID; a path is answered as a CAR file.");
  }
  const bytes = format.kind === "car" ? parseBytes(query.get("entity-bytes")) : null;
  const cacheControl = raw.headers.all("cache-control").join(",");
  return {
    root,
    rootText,
    segments,
    format,
    scope: bytes === null ? parseScope(query.get("dag-scope")) : "entity",
    bytes,
    fileName: query.get("filename") ?? null,
    onlyIfCached: /(?:^|,)\s*only-if-cached\s*(?:,|$)/i.test(cacheControl),
    location: locationOf(raw, query, format),
  };
}
