/**
 * Owns the organisations a sandbox starts with, or that control adds: Australian ones, with or without people in
 * them. Leaves accounts and tax rates to australia.ts, and how records come to be to the rules that everybody's
 * records follow.
 */
import { randomUUID } from "node:crypto";
import { Changes } from "../accounting/Changes.js";
import { archiveContact, createContact } from "../accounting/contacts.js";
import { createGroup, addMember } from "../accounting/contactGroups.js";
import { Organisation } from "../accounting/Organisation.js";
import type { Profile } from "../accounting/records.js";
import { Fields } from "../Fields.js";
import { randomText } from "../random.js";
import type { World } from "../World.js";
import { seedAustralia } from "./australia.js";

type OrganisationWish = { readonly [Key in keyof Profile]?: Profile[Key] | undefined };

/** Adds an organisation with its accounts and tax rates, but nobody in it. */
export function addOrganisation(world: World, wish: OrganisationWish): Organisation {
  const count = world.organisations.size + 1;
  const name = wish.name ?? `Organisation ${count}`;
  const org = new Organisation(
    {
      id: wish.id?.toLowerCase() ?? randomUUID(),
      name,
      legalName: wish.legalName ?? name,
      shortCode: wish.shortCode ?? `!${randomText(5, "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789")}`,
      baseCurrency: wish.baseCurrency ?? "AUD",
      countryCode: wish.countryCode ?? "AU",
      timezone: wish.timezone ?? "AUSEASTERNSTANDARDTIME",
      isDemoCompany: wish.isDemoCompany ?? false,
      class: wish.class ?? "PREMIUM",
      periodLockDate: wish.periodLockDate,
      endOfYearLockDate: wish.endOfYearLockDate,
      createdAt: world.clock.now(),
    },
    world.clock,
    world.switches,
  );
  seedAustralia(org);
  world.organisations.set(org.id, org);
  return org;
}

const people = [
  { Name: "Ridgeway University", EmailAddress: "accounts@ridgeway.example", ContactNumber: "RU-1" },
  { Name: "City Agency", FirstName: "Mina", LastName: "Okafor", EmailAddress: "mina@cityagency.example" },
  { Name: "Harbour Plan Management", EmailAddress: "invoices@harbourplan.example", ContactNumber: "PM-7" },
  { Name: "PowerDirect", EmailAddress: "bills@powerdirect.example", supplier: true },
  { Name: "Former Client", ContactNumber: "OLD-1", archived: true },
];

/** Adds the demo company: an organisation with a few contacts, one of them a supplier and one archived, and a group. */
export function addDemoOrganisation(world: World): Organisation {
  const org = addOrganisation(world, {
    name: "Demo Company (AU)",
    shortCode: "!Qj35V",
    isDemoCompany: true,
    class: "DEMO",
  });
  const changes = new Changes();
  const added = people.map(({ supplier, archived, ...sent }) => {
    const contact = createContact(org, new Fields(sent), changes);
    if (supplier) contact.isSupplier = true;
    if (archived) archiveContact(org, contact, undefined, changes);
    return contact;
  });
  const group = createGroup(org, new Fields({ Name: "Plan Managers" }), changes);
  addMember(org, group.id, new Fields({ ContactID: added[2]?.id }), changes);
  return org;
}
