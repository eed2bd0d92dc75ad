use std::time::{Duration, UNIX_EPOCH};

use uuid::Uuid;

use super::{Database, on_both_databases, until};
use crate::storage::{
    AnswerOfFeedback, Feedback, FeedbackKind, FeedbackPosition, FeedbackTotals, IntentPairTotal, ModelTotal, Stored,
    Topic,
};

/// Feedback number `number`, a correction when that is odd.
fn feedback(number: u32) -> Feedback {
    let kind = if number % 2 == 1 { FeedbackKind::Correction } else { FeedbackKind::Confirmation };
    Feedback {
        id: Uuid::from_u128(u128::from(number)),
        request_id: Some(Uuid::from_u128(1_000 + u128::from(number))),
        text: format!("text {number}: 'quoted', \"doubly\", Grüße 🦀\n\t\u{1}"),
        original_intent: "refund".to_owned(),
        correct_intent: if kind == FeedbackKind::Correction { "greeting" } else { "refund" }.to_owned(),
        original_confidence: Some(0.625),
        kind,
        user_id: Some("u".to_owned()),
        comment: None,
        context: Some(r#"{"locale":"de"}"#.to_owned()),
        model: Some("rules".to_owned()),
        model_version: Some("v1".to_owned()),
        experiment_group: Some("control".to_owned()),
        learn: true,
        received_at_ms: i64::from(number) * 1_000,
    }
}

fn all(count: u32) -> Vec<Feedback> {
    (0..count).map(feedback).collect()
}

on_both_databases! {
    async fn what_is_found_out_later_completes_feedback_and_changes_nothing_that_is_known(database: Database) {
        let storage = database.open().await;
        let bare = |number| Feedback {
            model: None, model_version: None, experiment_group: None, context: None, ..feedback(number)
        };
        let nameless = Feedback { request_id: None, ..bare(4) };
        storage.store_feedback(&[bare(1), feedback(2), bare(3), nameless.clone()]).await.expect("stored");
        let without = async |since| storage.feedback_without_answer(since, 10).await.expect("readable");
        let pair = |number| (feedback(number).id, feedback(number).request_id.expect("it names one"));
        assert_eq!(without(UNIX_EPOCH).await, [pair(3), pair(1)]);
        assert_eq!(without(UNIX_EPOCH + Duration::from_secs(2)).await, [pair(3)]);

        let answer = |number, context: Option<&str>| AnswerOfFeedback {
            feedback: feedback(number).id, model: "hybrid".to_owned(), model_version: "v9".to_owned(),
            experiment_group: "balanced".to_owned(), context: context.map(str::to_owned),
        };
        let answers = [answer(1, Some("{}")), answer(2, None), answer(9, None)];
        storage.complete_feedback(&answers).await.expect("stored");
        let complete = Feedback {
            model: Some("hybrid".to_owned()), model_version: Some("v9".to_owned()),
            experiment_group: Some("balanced".to_owned()), context: Some("{}".to_owned()), ..feedback(1)
        };
        let found = storage.feedback_after(&FeedbackPosition::default(), 10).await.expect("readable");
        assert_eq!(found, [complete, feedback(2), bare(3), nameless]);
        assert_eq!(without(UNIX_EPOCH).await, [pair(3)]);
    }

    async fn feedback_comes_back_as_it_was_given(database: Database) {
        let storage = database.open().await;
        let bare = Feedback {
            request_id: None, original_confidence: None, user_id: None, context: None, model: None,
            model_version: None, experiment_group: None, ..feedback(2)
        };
        assert_eq!(storage.store_feedback(&[feedback(1), bare.clone()]).await.expect("stored"), [Stored::New; 2]);
        let found = database.open().await.feedback_after(&FeedbackPosition::default(), 10).await.expect("readable");
        assert_eq!(found, [feedback(1), bare]);
    }

    async fn storing_again_changes_nothing(database: Database) {
        let storage = database.open().await;
        storage.store_feedback(&[feedback(1)]).await.expect("stored");
        let later = Feedback { received_at_ms: 99, model: None, ..feedback(1) };
        let other = Feedback { correct_intent: "farewell".to_owned(), ..feedback(1) };
        let outcome = storage.store_feedback(&[later, other, feedback(2)]).await.expect("stored");
        assert_eq!(outcome, [Stored::Repeated, Stored::Contradicted, Stored::New]);
        let found = storage.feedback_after(&FeedbackPosition::default(), 10).await.expect("readable");
        assert_eq!(found, [feedback(1), feedback(2)]);
    }

    async fn one_that_is_refused_takes_the_others_with_it(database: Database) {
        let storage = database.open().await;
        // No database takes a text with a NUL in it: Postgres refuses, and so do we before.
        let refused = Feedback { text: "\0".to_owned(), ..feedback(2) };
        if storage.database() == "postgres" {
            let error = storage.store_feedback(&[feedback(1), refused]).await.expect_err("it is refused");
            assert_eq!(error.fault(), None, "the database is well: {error:?}");
            assert_eq!(storage.feedback_after(&FeedbackPosition::default(), 10).await.expect("readable"), []);
        }
        storage.store_feedback(&[feedback(1)]).await.expect("it goes on");
    }

    async fn pages_follow_each_other_without_gap_or_overlap(database: Database) {
        let storage = database.open().await;
        // Many at one time, across the borders of pages.
        let many: Vec<Feedback> = all(25).into_iter().map(|one| {
            Feedback { received_at_ms: one.received_at_ms / 10_000, ..one }
        }).collect();
        storage.store_feedback(&many).await.expect("stored");
        let (mut found, mut position) = (Vec::new(), FeedbackPosition::default());
        loop {
            let page = storage.feedback_after(&position, 4).await.expect("readable");
            let Some(last) = page.last() else { break };
            position = FeedbackPosition::after(last);
            found.extend(page);
        }
        assert_eq!(found, many);
        let since = FeedbackPosition::before(UNIX_EPOCH + Duration::from_millis(2));
        assert_eq!(storage.feedback_after(&since, 100).await.expect("readable"), many[20..]);
    }

    async fn totals_are_by_kind_by_intents_and_by_model(database: Database) {
        let storage = database.open().await;
        let none = FeedbackTotals { corrections: 0, confirmations: 0 };
        assert_eq!(storage.feedback_totals().await.expect("readable"), none);
        let mut some = all(5);
        some.push(Feedback { correct_intent: "farewell".to_owned(), model: None, ..feedback(7) });
        storage.store_feedback(&some).await.expect("stored");

        let totals = FeedbackTotals { corrections: 3, confirmations: 3 };
        assert_eq!(storage.feedback_totals().await.expect("readable"), totals);
        let pair = |correct_intent: &str, count| IntentPairTotal {
            original_intent: "refund".to_owned(), correct_intent: correct_intent.to_owned(), count,
        };
        assert_eq!(storage.feedback_by_intents(9).await.expect("readable"), [pair("greeting", 2), pair("farewell", 1)]);
        let mut by_model = storage.feedback_by_models().await.expect("readable");
        by_model.sort_by_key(|total| total.model.clone());
        let total = |model: Option<&str>, corrections, confirmations| ModelTotal {
            model: model.map(str::to_owned), totals: FeedbackTotals { corrections, confirmations },
        };
        assert_eq!(by_model, [total(None, 1, 0), total(Some("rules"), 2, 3)]);
    }

    async fn every_process_learns_which_texts_were_corrected(database: Database) {
        let [writer, follower] = [database.open().await, database.open().await];
        follower.start();
        let mut revisions = follower.watch_revisions();
        let not_to_learn = Feedback { learn: false, ..feedback(5) };
        writer.store_feedback(&[all(4), vec![not_to_learn]].concat()).await.expect("stored");
        until(&mut revisions, |found| found.as_ref().is_some_and(|found| found.of(Topic::Corrections) == 1)).await;
        let mut texts = follower.corrected_texts_after(0, 10).await.expect("readable");
        texts.sort_unstable();
        assert_eq!(texts, [(1, feedback(1).text), (1, feedback(3).text)]);
        assert!(follower.corrected_texts_after(1, 10).await.expect("readable").is_empty());
    }

    async fn confirmations_alone_announce_nothing(database: Database) {
        let storage = database.open().await;
        storage.store_feedback(&[feedback(2)]).await.expect("stored");
        assert_eq!(storage.revisions().await.expect("readable").of(Topic::Corrections), 0);
    }

    async fn old_feedback_is_deleted_in_portions(database: Database) {
        let storage = database.open().await;
        storage.store_feedback(&all(10)).await.expect("stored");
        let before = UNIX_EPOCH + Duration::from_secs(7);
        let mut deleted = Vec::new();
        loop {
            let portion = storage.delete_feedback_before(before, 3).await.expect("writable");
            if portion == 0 { break }
            deleted.push(portion);
        }
        assert_eq!(deleted, [3, 3, 1]);
        assert_eq!(storage.feedback_after(&FeedbackPosition::default(), 10).await.expect("readable"), all(10)[7..]);
    }
}
