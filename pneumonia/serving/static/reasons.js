// Say in words why there is no answer.

import { t, word } from "./i18n.js";

// The page's sentence about an error, in the page's language.
export function reasonOf(error) {
  const status = error.status;
  if (status === undefined) return error.message;
  if (error.document.code === "database") return t("databaseAway");
  if (error.document.code && word("refusals", error.document.code)) return word("refusals", error.document.code);
  return word("errors", String(status)) ?? t("errorOther", status);
}

// The page's sentence about a refusal; of a code that this page does not know, the service's own words.
export const refusalOf = (result) =>
  word("refusals", result.code) ?? (result.reason ? t("reason", result.reason) : t("refusedUnknown"));
