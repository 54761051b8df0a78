import { XMLParser, XMLValidator } from "fast-xml-parser";
import { z } from "zod";
import { utf8OrNull } from "../identity/raw-request.ts";
import type { DocumentShare } from "./document-budget.ts";
import type { Exchange } from "./exchange.ts";
import { openObjectBody } from "./object-body.ts";
import { S3Error } from "./s3-error.ts";

/** An element of a request's document. Attributes (S3 puts a namespace into them) say nothing and are not kept. */
export interface XmlElement {
  readonly name: string;
  /** All text in it, entities decoded, spaces as they were; empty where it has children. */
  readonly text: string;
  readonly children: readonly XmlElement[];
}

/** How large a document may be, so that reading one never needs more memory than its operation is worth. */
export interface XmlLimits {
  readonly bytesMax: number;
  readonly elementsMax: number;
}

const DEPTH_MAX = 8;

/** The error for a document that is not what the operation takes. */
export function malformedXml(why: string): S3Error {
  return new S3Error("MalformedXML", `The XML you provided was not well-formed or not what is expected here: ${why}.`);
}

// What XML itself defines. Anything else would have to come from a DOCTYPE, and those are refused.
const ENTITIES: ReadonlyMap<string, string> = new Map([
  ["amp", "&"],
  ["lt", "<"],
  ["gt", ">"],
  ["quot", '"'],
  ["apos", "'"],
]);

function decodeReference(body: string): string {
  const named = ENTITIES.get(body);
  if (named !== undefined) return named;
  const digits = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))$/.exec(body);
  const code = digits === null ? 0 : Number.parseInt(digits[1] ?? digits[2] ?? "", digits[1] === undefined ? 10 : 16);
  // Control characters are taken, though XML 1.0 has none: our own listings write keys that have them in this way.
  if (code < 1 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) throw malformedXml(`no character &${body};`);
  return String.fromCodePoint(code);
}

function decodeText(raw: string): string {
  if (/&(?![#a-zA-Z0-9]{1,10};)/.test(raw)) throw malformedXml("a bare &");
  return raw.replaceAll(/&([#a-zA-Z0-9]{1,10});/g, (_, body: string) => decodeReference(body));
}

const TEXT = "#text";
const CDATA = "#cdata";
const ATTRIBUTES = ":@";
// What the parser gives with `preserveOrder`: each node is an object of one name.
const nodesSchema = z.array(z.record(z.string(), z.unknown()));

function textOf(name: string, content: unknown): string {
  if (name === TEXT) return decodeText(z.string().parse(content));
  return nodesSchema
    .parse(content)
    .map((piece) => z.string().parse(piece[TEXT]))
    .join("");
}

function elementOf(name: string, content: unknown): XmlElement {
  const children: XmlElement[] = [];
  let text = "";
  for (const node of nodesSchema.parse(content)) {
    for (const [childName, inner] of Object.entries(node)) {
      if (childName === ATTRIBUTES) continue;
      if (childName === TEXT || childName === CDATA) text += textOf(childName, inner);
      else children.push(elementOf(childName, inner));
    }
  }
  if (children.length === 0) return { name, text, children };
  if (text.trim() !== "") throw malformedXml(`text between the elements of ${name}`);
  return { name, text: "", children };
}

function refuseDangerous(document: string, elementsMax: number): void {
  // Entities that expand, also into what stands outside of the document, are declared in a DOCTYPE.
  if (/<!(?!--|\[CDATA\[)/.test(document)) throw malformedXml("a DOCTYPE or another declaration");
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(document)) throw malformedXml("a control character");
  // Counted before they are read: a document of a million empty elements is small, what it is parsed into is not.
  let tags = 0;
  for (let at = document.indexOf("<"); at !== -1; at = document.indexOf("<", at + 1)) {
    tags += 1;
    // Two of an element, and what stands before the root.
    if (tags > 2 * elementsMax + 8) throw malformedXml(`more than ${elementsMax} elements`);
  }
}

function parseNodes(document: string): unknown {
  try {
    if (XMLValidator.validate(document) !== true) throw malformedXml("it cannot be parsed");
    return new XMLParser({
      preserveOrder: true,
      trimValues: false,
      parseTagValue: false,
      processEntities: false,
      ignoreAttributes: true,
      ignoreDeclaration: true,
      ignorePiTags: true,
      cdataPropName: CDATA,
      maxNestedTags: DEPTH_MAX,
    }).parse(document);
  } catch (error) {
    throw error instanceof S3Error ? error : malformedXml("it cannot be parsed");
  }
}

/**
 * Reads a document strictly: no DOCTYPE, no entities but XML's own five and numbers, no text between elements.
 * @returns the root
 * @throws S3Error MalformedXML
 */
export function parseXml(document: string, elementsMax: number): XmlElement {
  refuseDangerous(document, elementsMax);
  const root = elementOf("", parseNodes(document));
  const [only, ...others] = root.children;
  if (only === undefined || others.length > 0) throw malformedXml("not one root");
  return only;
}

async function readDocument(
  { raw, auth, wire }: Pick<Exchange, "raw" | "auth" | "wire">,
  limits: XmlLimits,
  share: DocumentShare,
): Promise<XmlElement | null> {
  const pieces: Uint8Array[] = [];
  try {
    const body = await openObjectBody(raw.headers, auth, wire.body(), limits.bytesMax);
    for await (const piece of body.bytes) {
      share.grow(piece.byteLength);
      pieces.push(piece);
    }
  } catch (error) {
    if (!(error instanceof S3Error) || error.code !== "EntityTooLarge") throw error;
    throw malformedXml(`more than ${limits.bytesMax} bytes`);
  }
  const document = utf8OrNull(Buffer.concat(pieces));
  if (document === null) throw malformedXml("it is not UTF-8");
  const text = document.startsWith("\ufeff") ? document.slice(1) : document;
  return text.trim() === "" ? null : parseXml(text, limits.elementsMax);
}

/**
 * Reads the document in a request's body; null where the body is empty. Reading ends at the limit, however long the body
 * is or says to be, and where all documents under way take too much together.
 * @throws S3Error MalformedXML, SlowDown, and what `openObjectBody` throws of a body that is not what its headers say
 */
export async function readXmlBody(
  exchange: Pick<Exchange, "raw" | "auth" | "wire" | "documents">,
  limits: XmlLimits,
): Promise<XmlElement | null> {
  const share = exchange.documents.open(exchange.auth.principal.userId);
  try {
    return await readDocument(exchange, limits, share);
  } finally {
    share.release();
  }
}

/** @throws S3Error MalformedXML where an element has another name, or children of other names */
export function expectElement(element: XmlElement, name: string, childNames: readonly string[]): void {
  if (element.name !== name) throw malformedXml(`${element.name} instead of ${name}`);
  const other = element.children.find((child) => !childNames.includes(child.name));
  if (other !== undefined) throw malformedXml(`${other.name} in ${name}`);
  if (element.text.trim() !== "") throw malformedXml(`text in ${name}`);
}

/** Children of a name, in order. */
export function childrenOf({ children }: XmlElement, name: string): readonly XmlElement[] {
  return children.filter((child) => child.name === name);
}

/** The text of the one child of this name; null where there is none. @throws S3Error MalformedXML where there are several */
export function childText(element: XmlElement, name: string): string | null {
  const [only, ...others] = childrenOf(element, name);
  if (only === undefined) return null;
  if (others.length > 0 || only.children.length > 0) throw malformedXml(`${name} in ${element.name}`);
  return only.text;
}

/** The same, where it must be there. @throws S3Error MalformedXML */
export function requiredText(element: XmlElement, name: string): string {
  const text = childText(element, name);
  if (text === null) throw malformedXml(`no ${name} in ${element.name}`);
  return text;
}
