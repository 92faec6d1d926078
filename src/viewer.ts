/**
 * Who the caller is, read from the bearer token and from nothing else. The algorithms are pinned by the kind of key: a token signed
 * in another way than the configuration says (`none`, or HS256 with a public key) never verifies.
 */
import { createRemoteJWKSet, errors, jwtVerify, type JWTVerifyOptions, type JWTVerifyResult } from "jose";
import { Field, ID, ObjectType } from "type-graphql";
import { type Config } from "./config.js";
import { Role } from "./entities/enums.js";
import { AppError, unauthenticated } from "./errors.js";

@ObjectType()
export class Viewer {
  @Field(() => String)
  subject!: string;

  @Field(() => ID)
  workspaceId!: string;

  @Field(() => Role)
  role!: Role;

  /** When the token ends; null where it names no end. */
  expiresAt!: Date | null;
}

/** Reads an authorization value such as `Bearer …`. Throws UNAUTHENTICATED, or FORBIDDEN for a good token without a known role. */
export type ReadViewer = (authorization: string | undefined) => Promise<Viewer>;

const roles = new Map<unknown, Role>([
  ["viewer", "VIEWER"],
  ["bookkeeper", "BOOKKEEPER"],
  ["admin", "ADMIN"],
]);

function verifier(auth: Config["auth"]): (token: string) => Promise<JWTVerifyResult> {
  const options: JWTVerifyOptions = { clockTolerance: 5 };
  if (auth.issuer !== null) options.issuer = auth.issuer;
  if (auth.audience !== null) options.audience = auth.audience;
  if (auth.jwksUrl !== null) {
    const keys = createRemoteJWKSet(new URL(auth.jwksUrl));
    return (token) => jwtVerify(token, keys, { ...options, algorithms: ["RS256", "ES256", "EdDSA"] });
  }
  const secret = new TextEncoder().encode(auth.secret ?? "");
  return (token) => jwtVerify(token, secret, { ...options, algorithms: ["HS256"] });
}

/** The reader of bearer tokens that the configuration describes. */
export function createViewerReader(auth: Config["auth"]): ReadViewer {
  const verify = verifier(auth);
  return async (authorization) => {
    const [, token] = /^Bearer ([\w.~+/=-]+)$/i.exec(authorization ?? "") ?? [];
    if (token === undefined) throw unauthenticated("Send a bearer token: authorization: Bearer …");
    const { payload } = await verify(token).catch((error: unknown) => {
      if (error instanceof errors.JWTExpired) throw unauthenticated("The bearer token has expired.");
      if (error instanceof errors.JOSEError && !(error instanceof errors.JWKSTimeout)) {
        throw unauthenticated("The bearer token does not verify.");
      }
      throw error;
    });
    const workspaceId = payload[auth.workspaceClaim];
    const role = roles.get(payload[auth.roleClaim]);
    if (typeof workspaceId !== "string" || !/^[^\0\p{Surrogate}]{1,255}$/u.test(workspaceId)) {
      throw unauthenticated(
        `The bearer token's claim ${auth.workspaceClaim} must name a workspace in 1 to 255 characters.`,
      );
    }
    if (role === undefined) {
      throw new AppError(
        "FORBIDDEN",
        `The bearer token's claim ${auth.roleClaim} must be viewer, bookkeeper or admin.`,
      );
    }
    const expiresAt = payload.exp === undefined ? null : new Date(payload.exp * 1000);
    return { subject: payload.sub ?? "unknown", workspaceId, role, expiresAt };
  };
}
