/** What a person should know of. */
import { Arg, Args, Ctx, Query, Resolver } from "type-graphql";
import { Alert } from "../entities/Alert.js";
import { AlertState } from "../entities/enums.js";
import { checkFirst, type Page } from "../services/paging.js";
import { type Context } from "./context.js";
import { AlertConnection, PageArguments } from "./relay.js";

@Resolver(() => Alert)
export class AlertResolver {
  @Query(() => AlertConnection, { description: "The newest first." })
  alerts(
    @Args(() => PageArguments) page: PageArguments,
    @Arg("state", () => AlertState, { nullable: true }) state: AlertState | null | undefined,
    @Ctx() { services, viewer }: Context,
  ): Promise<Page<Alert>> {
    checkFirst(page.first);
    return services.alerts.list(viewer, page, state);
  }
}
