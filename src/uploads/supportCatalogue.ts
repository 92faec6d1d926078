/** The door for the NDIS Support Catalogue: `POST /uploads/support-catalogue?region=NATIONAL`, the workbook as the body. */
import { type FastifyError, type FastifyInstance, type FastifyReply } from "fastify";
import { actingAs } from "../acting.js";
import { AppError, badInput, type ErrorCode } from "../errors.js";
import { type AuditLog } from "../services/AuditLog.js";
import { type SupportCatalogue } from "../services/catalogue/SupportCatalogue.js";
import { type Viewer } from "../viewer.js";

const bodyLimit = 10 * 1024 * 1024;

const regions = ["NATIONAL", "REMOTE", "VERY_REMOTE"] as const;

const statusOf: Partial<Record<ErrorCode, number>> = {
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  BAD_USER_INPUT: 400,
};

/** Adds the door. `readViewer` reads the caller from the authorization header, and makes sure that the workspace is there. */
export async function takeUploads(
  app: FastifyInstance,
  options: {
    readViewer: (authorization: string | undefined) => Promise<Viewer>;
    catalogue: SupportCatalogue;
    auditLog: AuditLog;
  },
): Promise<void> {
  await app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit }, (_request, body, parsed) => parsed(null, body));
    scope.setErrorHandler((error: FastifyError, _request, reply) => {
      if (error.statusCode !== 413) throw error;
      return reply.code(413).send(errorBody(badInput({ field: "body", reason: "must be at most 10 MB" })));
    });
    scope.post("/uploads/support-catalogue", {
      bodyLimit,
      // Before the body is read: a stranger's megabytes are not taken in.
      onRequest: async (request, reply) => {
        try {
          const viewer = await options.readViewer(request.headers.authorization);
          if (viewer.role !== "ADMIN") {
            await options.auditLog.refused(viewer, "uploadSupportCatalogue");
            throw new AppError("FORBIDDEN", `This needs the role ADMIN; the bearer token's is ${viewer.role}.`);
          }
          viewers.set(request, viewer);
        } catch (error) {
          await refuse(reply, error);
        }
      },
      handler: async (request, reply) => {
        const viewer = viewers.get(request);
        const { region = "NATIONAL" } = request.query as { region?: string | string[] };
        const chosen = regions.find((name) => name === region);
        try {
          if (!chosen) throw badInput({ field: "region", reason: `must be one of ${regions.join(", ")}` });
          const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
          if (body.length === 0) throw badInput({ field: "body", reason: "must be the workbook (.xlsx) itself" });
          if (!viewer) throw new Error("the caller was not read");
          const who = {
            actor: viewer.subject,
            action: "uploadSupportCatalogue",
            subjectType: "SupportItem",
            subjectId: null,
          };
          const result = await actingAs({ ...who, bulk: true }, () => options.catalogue.import(viewer, body, chosen));
          // Nothing was changed where a row is wrong.
          return await reply.code(result.errors.length > 0 ? 422 : 200).send(result);
        } catch (error) {
          return refuse(reply, error);
        }
      },
    });
    done();
  });
}

const viewers = new WeakMap<object, Viewer>();

/** What is meant for the caller goes to the caller; the rest is the server's to hide. */
async function refuse(reply: FastifyReply, error: unknown): Promise<FastifyReply> {
  if (!(error instanceof AppError)) throw error;
  const status = statusOf[error.code] ?? 500;
  if (status === 401) void reply.header("www-authenticate", "Bearer");
  return reply.code(status).send(errorBody(error));
}

function errorBody({ message, extensions }: AppError): object {
  return { errors: [{ message, extensions }] };
}
