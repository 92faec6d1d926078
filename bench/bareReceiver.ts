/**
 * What a receiver of webhooks costs at the very least, as a process of its own: it checks the signature, inserts one row, and answers once that
 * is committed. `DATABASE_URL` and `WEBHOOK_KEY` say where and by what; it prints its address.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo } from "node:net";
import pg from "pg";

const { DATABASE_URL: connectionString, WEBHOOK_KEY: key = "" } = process.env;
const pool = new pg.Pool({ ...(connectionString !== undefined && { connectionString }), max: 10 });
await pool.query("CREATE TABLE IF NOT EXISTS bare_delivery (id bigserial PRIMARY KEY, body text NOT NULL)");

async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  await once(request, "end");
  const body = Buffer.concat(parts);
  const given = Buffer.from(String(request.headers["x-xero-signature"]));
  const expected = Buffer.from(createHmac("sha256", key).update(body).digest("base64"));
  const isSigned = given.length === expected.length && timingSafeEqual(given, expected);
  if (isSigned) await pool.query("INSERT INTO bare_delivery (body) VALUES ($1)", [body.toString("utf8")]);
  response.writeHead(isSigned ? 200 : 401, { "content-length": 0 }).end();
}

process.stdin.resume().on("end", () => process.exit()); // With whoever started it.

const server = createServer((request, response) => {
  receive(request, response).catch((error: unknown) => {
    console.error(error);
    response.writeHead(503, { "content-length": 0 }).end();
  });
});
server.listen(0, "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
