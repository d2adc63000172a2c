// What pages do beyond HTML: copies values, shows times in the reader's zone. Pages work without it.
"use strict";
(() => {
    const said = () => document.getElementById("said") || (() => {
        const region = document.createElement("div");
        region.id = "said";
        region.className = "visually-hidden";
        region.setAttribute("aria-live", "polite");
        document.body.append(region);
        return region;
    })();

    // Copy buttons, and fields that select themselves.
    document.addEventListener("click", async (event) => {
        const button = event.target.closest("[data-copy]");
        if (!button) return;
        try {
            await navigator.clipboard.writeText(button.dataset.copy);
        } catch {
            // Without a secure context there is no clipboard to write to.
            const area = document.createElement("textarea");
            area.value = button.dataset.copy;
            document.body.append(area);
            area.select();
            document.execCommand("copy");
            area.remove();
            button.focus();
        }
        const text = button.dataset.text || (button.dataset.text = button.textContent);
        button.textContent = "Copied";
        // What was copied before, or has been said since, is not taken away.
        const words = (button.getAttribute("aria-label") || "").replace(/^Copy/, "Copied");
        said().textContent = words;
        setTimeout(() => {
            button.textContent = text;
            if (said().textContent === words) said().textContent = "";
        }, 1500);
    });

    // Times.
    const near = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
    const far = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
    const short = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
    const shown = (root) => {
        for (const time of root.querySelectorAll("time[datetime]")) {
            const date = new Date(time.dateTime);
            if (Number.isNaN(date.getTime())) continue;
            const isToday = date.toDateString() === new Date().toDateString();
            time.textContent = ("short" in time.dataset ? short : isToday ? near : far).format(date);
            time.title = date.toString();
        }
        // The titles of bars: a time and a count.
        for (const title of root.querySelectorAll("title[data-at]")) {
            title.textContent = short.format(new Date(title.dataset.at)) + title.textContent.replace(/^.*(: \d+)$/, "$1");
        }
        for (const hint of root.querySelectorAll("[data-without-script]")) hint.hidden = true;
    };
    document.addEventListener("DOMContentLoaded", () => shown(document));
    document.addEventListener("htmx:load", (event) => shown(event.target.parentElement || document));

    // Choosing in a list opens what was chosen; the form's button is for pages without this script.
    document.addEventListener("change", (event) => {
        if (event.target.matches("select[data-submit]")) event.target.form.requestSubmit();
        if (event.target.matches("[data-all]")) {
            for (const box of event.target.form.querySelectorAll(".pick input")) box.checked = event.target.checked;
        }
    });

    // Mail: the list is not replaced while emails of it are selected.
    document.addEventListener("htmx:beforeRequest", (event) => {
        if (event.target.closest("form[data-sent]")) return event.preventDefault();
        if (!event.target.matches("[data-live]") || !document.querySelector(".pick input:checked")) return;
        event.preventDefault();
        const waiting = document.getElementById("waiting");
        waiting.hidden = false;
        said().textContent = waiting.textContent;
    });
    document.addEventListener("change", (event) => {
        const waiting = document.getElementById("waiting");
        if (!waiting || waiting.hidden || !event.target.matches(".pick input, [data-all]")) return;
        if (!document.querySelector(".pick input:checked")) htmx.trigger("[data-live]", "reload");
    });

    // A time that is entered is of the reader's zone.
    document.addEventListener("submit", (event) => {
        if (!event.target.matches("form[data-offset]")) return;
        const { since, offset } = event.target.elements;
        offset.value = new Date(since.value).getTimezoneOffset() || 0;
    });

    // A form is sent once; files come by drop, too, and are not sent where they are too large together.
    document.addEventListener("submit", (event) => {
        const form = event.target;
        if (!form.matches("form[data-once]")) return;
        if (form.dataset.sent) return event.preventDefault();
        const saving = form.querySelector("[hx-post].htmx-request");
        if (saving) {
            // What is being saved is a new version of the draft, which the form gets first.
            event.preventDefault();
            const again = () => setTimeout(() => form.requestSubmit(event.submitter));
            saving.addEventListener("htmx:afterRequest", again, { once: true });
            return;
        }
        const files = form.querySelector("input[type=file]");
        const octets = files ? [...files.files].reduce((sum, file) => sum + file.size, 0) : 0;
        const fault = document.getElementById("files-error");
        if (fault && octets * 4 / 3 > Number(form.dataset.limit)) {
            event.preventDefault();
            fault.textContent = "These files are too large for one email. Attach fewer.";
            files.focus();
            return;
        }
        form.dataset.sent = "1";
    });
    addEventListener("pageshow", () => { for (const form of document.querySelectorAll("form[data-once]")) delete form.dataset.sent; });
    // The files that are chosen are listed, each with a button that removes it.
    const choose = (input, files) => {
        const all = new DataTransfer();
        for (const file of files) all.items.add(file);
        input.files = all.files;
        list(input);
        said().textContent = files.length + (files.length === 1 ? " file to attach" : " files to attach");
    };
    const list = (input) => {
        const rows = [...input.files].map((file) => {
            const [row, name, button] = ["li", "bdi", "button"].map((tag) => document.createElement(tag));
            name.textContent = file.name;
            Object.assign(button, { type: "button", className: "quiet small", textContent: "Remove" });
            button.setAttribute("aria-label", "Remove " + file.name);
            button.addEventListener("click", () => {
                choose(input, [...input.files].filter((one) => one !== file));
                input.focus();
            });
            row.className = "actions";
            row.append(name, button);
            return row;
        });
        document.getElementById("files-list").replaceChildren(...rows);
    };
    document.addEventListener("change", (event) => {
        if (event.target.matches("form[data-drop] input[type=file]")) list(event.target);
    });
    for (const name of ["dragover", "dragleave", "drop"]) {
        document.addEventListener(name, (event) => {
            const form = document.querySelector("form[data-drop]");
            if (!form || !event.dataTransfer || ![...event.dataTransfer.types].includes("Files")) return;
            // A file that is dropped beside the form would be opened in the place of the page.
            event.preventDefault();
            const isOver = form.contains(event.target);
            form.querySelector(".drop").classList.toggle("over", isOver && name === "dragover");
            if (!isOver || name !== "drop") return;
            const input = form.querySelector("input[type=file]");
            choose(input, [...input.files, ...event.dataTransfer.files]);
        });
    }

    // The lists of pages and headings of the guide are open where there is room beside the text.
    const isWide = matchMedia("(min-width: 60rem)");
    const fit = () => {
        for (const one of document.querySelectorAll(".guide-aside details")) one.open = isWide.matches;
    };
    isWide.addEventListener("change", fit);
    document.addEventListener("DOMContentLoaded", fit);

    // Dialogs.
    document.addEventListener("click", (event) => {
        const button = event.target.closest("[data-dialog]");
        if (button) document.getElementById(button.dataset.dialog).showModal();
    });

    // Shortcut keys of mail; they can be turned off, and letters that are typed into fields are none.
    const keysOn = () => {
        try {
            return localStorage.getItem("keys") !== "off";
        } catch {
            return true;
        }
    };
    document.addEventListener("DOMContentLoaded", () => {
        const box = document.querySelector("[data-keys-on]");
        if (!box) return;
        box.checked = keysOn();
        box.addEventListener("change", () => localStorage.setItem("keys", box.checked ? "on" : "off"));
    });
    const rows = () => [...document.querySelectorAll(".emails .link")];
    document.addEventListener("keydown", (event) => {
        if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
        const dialog = document.getElementById("keys");
        if (!dialog || dialog.open || !keysOn()) return;
        if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
        if (event.key === "?") {
            event.preventDefault();
            return dialog.showModal();
        }
        if ((event.key === "j" || event.key === "k") && rows().length) {
            const all = rows();
            const at = all.findIndex((link) => link.closest("[data-row]").contains(document.activeElement));
            const next = all[at < 0 ? 0 : at + (event.key === "j" ? 1 : -1)];
            if (next) next.focus();
            return event.preventDefault();
        }
        const row = document.activeElement.closest(".emails [data-row]");
        const found = [row, document].filter(Boolean).map((root) => root === document && rows().length
            ? [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === event.key && !one.closest(".emails"))
            : [...root.querySelectorAll("[data-key]")].find((one) => one.dataset.key === event.key)).find(Boolean);
        if (!found) return;
        event.preventDefault();
        if (found.matches("input:not([type=checkbox])")) found.focus();
        else found.click();
    });

    // What a reader has opened or closed stays so when its part of the page comes anew.
    const opened = new Map();
    for (const name of ["htmx:sseBeforeMessage", "htmx:beforeSwap"]) {
        document.addEventListener(name, (event) => {
            for (const one of event.target.querySelectorAll("details[id]")) opened.set(one.id, one.open);
        });
    }
    for (const name of ["htmx:sseMessage", "htmx:afterSwap"]) {
        document.addEventListener(name, (event) => {
            for (const one of event.target.querySelectorAll("details[id]")) one.open = opened.get(one.id) ?? one.open;
        });
    }
})();
