//! Images and audio: tiny files, honest counts.

use serde_json::{Value, json};

use super::other::with_usage;
use super::{Answer, Mark, Request};
use crate::state::State;

/// A PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// Output tokens of one image, as gpt-image-1 counts a small one.
const IMAGE_TOKENS: u64 = 272;

/// Bytes of speech, and of each piece of it.
const SPEECH_BYTES: usize = 4_096;
const SPEECH_PIECE: usize = 512;

/// `POST /images/generations` (and edits, variations)
pub(super) fn images(request: &Request<'_>, state: &State, answer: &mut Answer) {
    answer.input = request.input();
    let images = u64::from(request.ask.n.clamp(1, 10));
    let mut body = json!({
        "created": state.clock.now_s(),
        "data": vec![json!({"b64_json": PIXEL}); images as usize],
    });
    let model = request.model("gpt-image-1");
    if model.starts_with("dall-e") {
        // Priced by the image: no tokens, no usage.
        body["data"][0]["revised_prompt"] = json!("a river");
        answer.input = Default::default();
        answer.json(&body);
        return answer.earn(0, false);
    }
    let (input, output) = (answer.input.input, images * IMAGE_TOKENS);
    let truth = json!({
        "input_tokens": input,
        "input_tokens_details": {"text_tokens": input, "image_tokens": 0},
        "output_tokens": output,
        "total_tokens": input + output,
    });
    with_usage(request, answer, body, truth);
    if let Some(mark) = answer.marks.last_mut() {
        mark.output = output;
    }
}

/// `POST /audio/speech`: bytes in pieces, no usage.
pub(super) fn speech(request: &Request<'_>, answer: &mut Answer) {
    answer.input = request.input();
    answer.content_type = "audio/mpeg".into();
    answer.streamed = true;
    // An MPEG frame header, then bytes of which some are no UTF-8.
    answer.body.extend_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
    answer
        .body
        .extend((4..SPEECH_BYTES).map(|at| (at * 7 % 256) as u8));
    let ends = (1..=SPEECH_BYTES / SPEECH_PIECE).map(|piece| piece * SPEECH_PIECE);
    answer.marks.extend(ends.map(|end| Mark {
        end,
        ..Mark::default()
    }));
}

/// `POST /audio/transcriptions` and `/audio/translations`
pub(super) fn transcription(request: &Request<'_>, answer: &mut Answer) {
    let text = "the river under the old stone house";
    let model = request.model("whisper-1");
    let bytes = request.ask.file.as_ref().map_or(0, |(_, bytes)| *bytes);
    // As if it were 16 kHz, 16 bit: what a second of plain WAV has.
    let seconds = bytes.div_ceil(32_000).max(1);
    if model.starts_with("whisper") {
        let truth: Value = json!({"type": "duration", "seconds": seconds});
        return with_usage(request, answer, json!({"text": text}), truth);
    }
    let output = text.split(' ').count() as u64;
    answer.input = request.input();
    // Ten tokens a second of audio, as gpt-4o-transcribe counts.
    answer.input.input = request
        .behaviour()
        .input_tokens
        .unwrap_or(seconds * 10 + request.ask.words);
    let input = answer.input.input;
    let truth = json!({
        "type": "tokens",
        "input_tokens": input,
        "input_token_details": {"text_tokens": request.ask.words, "audio_tokens": seconds * 10},
        "output_tokens": output,
        "total_tokens": input + output,
    });
    with_usage(request, answer, json!({"text": text}), truth);
    if let Some(mark) = answer.marks.last_mut() {
        mark.output = output;
    }
}
