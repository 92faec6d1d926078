/** Reading an uploaded workbook (.xlsx) where it can do no harm: in a thread of its own, with limits of memory and time, one at a time. */
import { badInput } from "../../errors.js";
import { startThread } from "../../thread.js";
import { type Catalogue, type Region } from "./catalogueRows.js";
import { type WorkbookOrder, type WorkbookReport } from "./workbookThread.js";

const withinMs = 30_000;
const memoryMb = 512;

let before: Promise<unknown> = Promise.resolve();

/** The catalogue that the workbook holds, with the price limits of the region. Throws BAD_USER_INPUT where the bytes are none that can be read. */
export async function readWorkbook(file: Uint8Array, region: Region): Promise<Catalogue> {
  const reading = before.then(() => readInThread({ file, region }));
  before = reading.catch(() => undefined);
  const report = await reading;
  if ("items" in report) return report;
  throw badInput({ field: "body", reason: `is no Excel workbook (.xlsx) that can be read: ${report.problem}` });
}

async function readInThread(workerData: WorkbookOrder): Promise<WorkbookReport> {
  const resourceLimits = { maxOldGenerationSizeMb: memoryMb };
  const thread = startThread("workbookThread", import.meta.url, { workerData, resourceLimits });
  let timer: NodeJS.Timeout | undefined;
  const report = await new Promise<WorkbookReport>((resolve) => {
    const fail = (): void => resolve({ problem: "reading it takes too much memory or time" });
    thread.once("message", resolve);
    thread.once("error", fail);
    thread.once("exit", fail);
    timer = setTimeout(fail, withinMs);
  });
  clearTimeout(timer);
  await thread.terminate();
  return report;
}
