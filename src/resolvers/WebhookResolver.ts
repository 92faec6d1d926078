/** What Xero announced. */
import { Arg, Args, Authorized, Ctx, ID, Mutation, Query, Resolver } from "type-graphql";
import { WebhookEventStatus } from "../entities/enums.js";
import { WebhookEvent } from "../entities/WebhookEvent.js";
import { checkFirst, type Page } from "../services/paging.js";
import { type Context } from "./context.js";
import { PageArguments, WebhookEventConnection } from "./relay.js";

@Resolver(() => WebhookEvent)
export class WebhookResolver {
  @Query(() => WebhookEventConnection, { description: "The newest first." })
  webhookEvents(
    @Args(() => PageArguments) page: PageArguments,
    @Arg("status", () => WebhookEventStatus, { nullable: true }) status: WebhookEventStatus | null | undefined,
    @Ctx() { services, viewer }: Context,
  ): Promise<Page<WebhookEvent>> {
    checkFirst(page.first);
    return services.webhookEvents.list(viewer, page, status);
  }

  @Authorized("BOOKKEEPER")
  @Mutation(() => WebhookEvent, {
    description:
      "Reads what the event is about from Xero once more, as it stands there now; waits while the link is down.",
  })
  replayWebhookEvent(@Arg("id", () => ID) id: string, @Ctx() { services, viewer }: Context): Promise<WebhookEvent> {
    return services.webhookEvents.replay(viewer, id);
  }
}
