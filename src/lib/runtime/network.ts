/** Asks whoever the settings name over HTTP. Who is asked, how long and how often is the caller's business. */
export async function askNetwork(url: string, init: RequestInit): Promise<Response> {
  return await fetch(url, init);
}
