/** Reading an uploaded workbook (.xlsx) where it can do no harm: in a thread of its own, with limits of memory and time. */
import { badInput } from "../../errors.js";
import { startThread } from "../../thread.js";
import { type Sheet } from "./catalogueRows.js";
import { type WorkbookReport } from "./workbookThread.js";

const withinMs = 30_000;
const memoryMb = 512;

/** All sheets of the workbook. Throws BAD_USER_INPUT where the bytes are none that can be read. */
export async function readWorkbook(file: Uint8Array): Promise<Sheet[]> {
  const thread = startThread("workbookThread", import.meta.url, {
    workerData: file,
    resourceLimits: { maxOldGenerationSizeMb: memoryMb },
  });
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
  if ("sheets" in report) return report.sheets;
  throw badInput({ field: "body", reason: `is no Excel workbook (.xlsx) that can be read: ${report.problem}` });
}
