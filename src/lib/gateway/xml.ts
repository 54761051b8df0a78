/** A part of an XML document; build it with `element` and `text`, so that nothing is ever written unescaped. */
export type Xml = { readonly xml: string };

/** The namespace of S3's answers. */
const S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;",
};

/**
 * Escapes text for XML. Control characters become numeric references, as S3 writes them: XML 1.0 cannot hold them at
 * all, and a reader that minds asks for `encoding-type=url`.
 */
export function escapeXml(text: string): string {
  return (
    text
      .replaceAll(/[&<>"']/g, (char) => ENTITIES[char] ?? char)
      // oxlint-disable-next-line no-control-regex -- they are what is looked for
      .replaceAll(/[\u0000-\u001f\u007f\ufffe\uffff]/g, (char) => `&#x${char.codePointAt(0)?.toString(16) ?? ""};`)
  );
}

/** One element with text or further elements in it; null and undefined children are left out. */
export function element(
  name: string,
  ...children: readonly (Xml | string | number | boolean | null | undefined)[]
): Xml {
  const body = children
    .filter((child) => child !== null && child !== undefined)
    .map((child) => (typeof child === "object" ? child.xml : escapeXml(String(child))))
    .join("");
  return { xml: `<${name}>${body}</${name}>` };
}

/** A whole document whose root is in S3's namespace. */
export function s3Document(name: string, ...children: readonly (Xml | null)[]): string {
  const body = children.map((child) => child?.xml ?? "").join("");
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${name} xmlns="${S3_NAMESPACE}">${body}</${name}>`;
}

/** An error document; S3's have no namespace. */
export function errorDocument(parts: {
  readonly code: string;
  readonly message: string;
  readonly requestId: string;
  readonly fields: Readonly<Record<string, string>>;
}): string {
  const { code, message, requestId, fields } = parts;
  const body = [
    element("Code", code),
    element("Message", message),
    ...Object.entries(fields).map(([name, value]) => element(name, value)),
    element("RequestId", requestId),
  ];
  return `<?xml version="1.0" encoding="UTF-8"?>\n${element("Error", ...body).xml}`;
}
