/** Where nothing crosses the network: this host, or the path of a Unix socket. */
export function isLoopback(host: string): boolean {
  return host.startsWith("/") || host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}
