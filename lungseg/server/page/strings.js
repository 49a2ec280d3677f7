"use strict";

/** What the service gives, as `?format=` names it: suffix, title, what it is. */
const FILES = {
  mask: [".mask.png", "Mask", "1-bit PNG, white = lung"],
  labels: [".labels.png", "Labels", "PNG: 1 right, 2 left"],
  overlay: [".overlay.png", "Overlay", "PNG to look at"],
  probability: [".probability.png", "Probability", "16-bit PNG"],
  cutout: [".cutout.png", "Cutout", "the film’s lung part, PNG"],
  json: [".json", "Report", "verdict, measures, JSON"],
  contours: [".contours.json", "Contours", "GeoJSON polygons"],
  rle: [".rle.json", "Run lengths", "COCO, JSON"],
  "dicom-seg": [".seg.dcm", "DICOM SEG", "DICOM Segmentation"],
  npz: [".npz", "NumPy", "arrays, NPZ"],
  all: [".zip", "Everything", "a ZIP of all of these that the film allows"],
};

const ADVICE = {
  accept: ["Accept", "Nothing speaks against relying on this mask."],
  review: ["Review", "Have a person look at this mask before it is relied on."],
  reject: ["Reject", "Do not rely on this mask."],
};

/** What can go wrong in the browser itself, told as the service tells its refusals. */
const UNREADABLE = {
  title: "The file cannot be read",
  code: "unreadable",
  detail: "The browser could not open it.",
  remedy: "Choose a file, not a folder, and check that it is still there.",
};
const TOO_OLD = {
  title: "This browser cannot show the answer",
  code: "browser",
  detail: "It could not read the picture that the service sent.",
  remedy: "Use a current version of Chrome, Edge, Firefox or Safari, or ask the service without a page (see API).",
};
