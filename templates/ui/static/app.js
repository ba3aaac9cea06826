// Puts life into a page that works without it.

import { watchForms } from "./forms.js";
import { watchAssign } from "./assign.js";
import { watchBulk } from "./bulk.js";
import { watchFilter } from "./filter.js";
import { watchFragments } from "./fragments.js";
import { watchMenus } from "./menus.js";
import { showKeptNotice } from "./notices.js";
import { watchParams } from "./params.js";
import { watchStaying } from "./stay.js";
import { startTimes } from "./times.js";
import { EventStream } from "./stream.js";
import { skipLogin } from "./login.js";
import { defineLog } from "./log.js";
import { defineSecret } from "./secret.js";

const body = document.body;
startTimes(body.dataset.now);
watchMenus();
watchForms();
watchStaying();
showKeptNotice();
watchAssign();
watchParams();
watchBulk();
defineSecret();
skipLogin();

const stream = new EventStream(body.dataset.stream, body.dataset.lastEvent);
const refresh = watchFragments(stream);
watchFilter(refresh);
defineLog(stream);
stream.start();
