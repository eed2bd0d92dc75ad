use std::time::{Duration, UNIX_EPOCH};

use intent_engine::experiment::Clusters;
use uuid::Uuid;

use super::{Database, on_both_databases};
use crate::storage::{Exposure, Feedback, FeedbackKind, FeedbackPosition};

fn exposure(number: u32, group: &str) -> Exposure {
    Exposure {
        request_id: Uuid::from_u128(u128::from(number)),
        experiment: "routing".to_owned(),
        group: group.to_owned(),
        subject: format!("subject {}", number % 2),
        decided_at: UNIX_EPOCH + Duration::from_secs(u64::from(number)),
        intent: "refund".to_owned(),
        model: "rules".to_owned(),
        model_version: "v1".to_owned(),
        confidence: 0.5,
        latency_ms: f64::from(number),
        fallbacks: number % 2,
        degraded: number.is_multiple_of(5),
    }
}

fn opinion(number: u32, kind: FeedbackKind) -> Feedback {
    let request_id = Some(Uuid::from_u128(u128::from(number)));
    let correct_intent = "refund".to_owned();
    Feedback { request_id, correct_intent, kind, ..Feedback::correction(500 + u128::from(number), "t") }
}

on_both_databases! {
    async fn feedback_is_kept_with_the_model_that_the_exposure_of_its_request_names(database: Database) {
        let storage = database.open().await;
        storage.store_exposures(&[exposure(1, "balanced")]).await.expect("stored");
        let said_by_itself = Feedback { model: Some("linear".to_owned()), ..opinion(1, FeedbackKind::Correction) };
        let other_id = Feedback { id: Uuid::from_u128(900), ..said_by_itself };
        let opinions = [opinion(1, FeedbackKind::Confirmation), opinion(2, FeedbackKind::Confirmation), other_id];
        storage.store_feedback(&opinions).await.expect("stored");
        let found = storage.feedback_after(&FeedbackPosition::default(), 10).await.expect("readable");
        let known = |one: &Feedback| (one.model.clone(), one.model_version.clone(), one.experiment_group.clone());
        let [exposed, unknown, said] = &found[..] else { panic!("{found:?}") };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(known(exposed), (text("rules"), text("v1"), text("balanced")));
        assert_eq!(known(unknown), (None, None, None));
        assert_eq!(known(said), (text("linear"), text("v1"), text("balanced")));
    }

    async fn groups_are_added_up_with_what_users_said(database: Database) {
        let storage = database.open().await;
        let mut exposures: Vec<Exposure> = (1..=10).map(|number| exposure(number, "control")).collect();
        exposures.push(exposure(20, "balanced"));
        exposures.push(Exposure { experiment: "another".to_owned(), ..exposure(21, "balanced") });
        storage.store_exposures(&exposures).await.expect("stored");
        storage.store_exposures(&exposures).await.expect("stored again: nothing is counted twice");
        let opinions = [
            opinion(1, FeedbackKind::Confirmation),
            opinion(2, FeedbackKind::Confirmation),
            opinion(3, FeedbackKind::Correction),
            opinion(21, FeedbackKind::Correction),
        ];
        storage.store_feedback(&opinions).await.expect("stored");

        let totals = storage.experiment_totals("routing").await.expect("readable");
        let [balanced, control] = &totals[..] else { panic!("{totals:?}") };
        assert_eq!((balanced.group.as_str(), balanced.exposures), ("balanced", 1));
        assert_eq!(balanced.accuracy, Clusters::default());
        assert_eq!((control.exposures, control.fallbacks, control.degraded), (10, 5, 2));
        // Two subjects of five decisions each: the odd and the even latencies.
        let two = |sums: [(f64, f64); 2]| {
            let mut clusters = Clusters::default();
            sums.into_iter().for_each(|(observations, total)| clusters.add(observations, total));
            clusters
        };
        assert_eq!(control.latency_ms, two([(5.0, 25.0), (5.0, 30.0)]));
        assert_eq!(control.confidence, two([(5.0, 2.5); 2]));
        // The odd one confirmed one and corrected one, the even one confirmed one.
        assert_eq!(control.accuracy, two([(2.0, 1.0), (1.0, 1.0)]));
    }

    async fn quantiles_are_those_of_the_sorted_latencies(database: Database) {
        let storage = database.open().await;
        let exposures: Vec<Exposure> = (1..=100).rev().map(|number| exposure(number, "control")).collect();
        storage.store_exposures(&exposures).await.expect("stored");
        for (quantile, expected) in [(0.0, 1.0), (0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = storage.experiment_latency_ms("routing", "control", 100, quantile).await.expect("readable");
            assert_eq!(found, Some(expected), "{quantile}");
        }
        assert_eq!(storage.experiment_latency_ms("routing", "nobody", 0, 0.5).await.expect("readable"), None);
    }

    async fn old_exposures_are_deleted(database: Database) {
        let storage = database.open().await;
        let exposures: Vec<Exposure> = (1..=5).map(|number| exposure(number, "control")).collect();
        storage.store_exposures(&exposures).await.expect("stored");
        let before = UNIX_EPOCH + Duration::from_secs(4);
        assert_eq!(storage.delete_exposures_before(before, 100).await.expect("writable"), 3);
        assert_eq!(storage.experiment_totals("routing").await.expect("readable")[0].exposures, 2);
    }
}
