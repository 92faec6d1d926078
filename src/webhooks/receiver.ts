/**
 * Xero's door. The body is read as raw bytes, for the signature is over them and their white space is irregular; it is checked against every
 * configured key in constant time; the events are committed; and only then comes the empty 200. Nothing else happens in the request.
 * (https://developer.xero.com/documentation/guides/webhooks/configuring-your-server: 2xx within five seconds, empty, no cookies; 401 for a
 * wrong signature, which Xero tries on purpose.)
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { METHODS } from "node:http";
import { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { type Logger } from "../logger.js";
import { type WebhookInbox } from "../services/WebhookInbox.js";

const path = "/webhooks/xero";

const bodyLimit = 4 * 1024 * 1024;

/** No browser comes here: headers that only one understands would cost more than the rest of the answer, and a preflight is no delivery. */
const notForBrowsers = { helmet: false as const, config: { cors: false } };

/** Whether the signature is the body's under one of the keys. Takes the same time whichever key or byte differs. */
export function isSigned(body: Buffer, signature: string | undefined, keys: string[]): boolean {
  if (signature === undefined) return false;
  const given = Buffer.from(signature);
  let matches = false;
  for (const key of keys) {
    const expected = Buffer.from(createHmac("sha256", key).update(body).digest("base64"));
    if (given.length === expected.length && timingSafeEqual(given, expected)) matches = true;
  }
  return matches;
}

/** Adds `POST /webhooks/xero`. */
export async function receiveWebhooks(
  app: FastifyInstance,
  options: {
    keys: string[];
    inbox: WebhookInbox;
    logger: Logger;
    /** Is told of every answer. Must not throw. */
    onAnswer: (status: number, durationMs: number) => void;
  },
): Promise<void> {
  await app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit }, (_request, body, parsed) => parsed(null, body));
    scope.setErrorHandler(async (error: { statusCode?: number }, _request, reply) => {
      const status = error.statusCode ?? 503;
      if (status >= 500) options.logger.error({ err: error }, "a delivery could not be kept; Xero will send it again");
      // An empty body, whatever went wrong: anything else counts as a failed delivery twice over.
      await reply.code(status >= 500 ? 503 : status).send();
    });
    scope.addHook("onResponse", (_request, reply, answered) => {
      options.onAnswer(reply.statusCode, reply.elapsedTime);
      answered();
    });
    scope.post(path, { bodyLimit, ...notForBrowsers }, async (request, reply) => {
      if (request.headers["content-encoding"] !== undefined) return reply.code(415).send();
      const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
      const signature = request.headers["x-xero-signature"];
      if (!isSigned(body, typeof signature === "string" ? signature : undefined, options.keys))
        return reply.code(401).send();
      const unread = await options.inbox.keep(body);
      if (unread > 0) options.logger.error({ unread }, "events of a correctly signed delivery could not be read");
      return reply.code(200).send();
    });
    const others = METHODS.filter((method) => method !== "POST");
    for (const method of others) if (!scope.supportedMethods.includes(method)) scope.addHttpMethod(method);
    const refuse = async (_request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      await reply.code(405).header("allow", "POST").send();
    };
    // Before the body is read, so that none is too large, or too strange, to get this answer.
    scope.route({ method: others, url: path, ...notForBrowsers, onRequest: refuse, handler: refuse });
    done();
  });
}
